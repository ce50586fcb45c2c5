"""What a compose check needs, and what it does with a container engine; that it works is shown by running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cluster_check.errors import CheckFailed
from benchmarks.cluster_check.follow import FollowedCallers
from benchmarks.compose.__main__ import ComposeCheck, Ports, main
from benchmarks.compose.containers import Containers

_ENGINE = """#!/bin/sh
echo "$@" >> "$0.log"
case "$*" in
    "image inspect"*) exit {image} ;;
    *"ps --quiet lm") echo one; echo two ;;
    *"ps --quiet codec") ;;
    "container inspect"*)
        echo '[{{"State": {{"ExitCode": {exit}, "StartedAt": "'$(cat "$0.starts" 2>/dev/null)'"}}}}]' ;;
    "exec one python -c"*) {crash} ; exit 137 ;;
esac
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container engine that does nothing but remember."""
    program = tmp_path / "engine"
    let(program)
    program.chmod(0o755)
    monkeypatch.setenv("ENGINE", str(program))
    return program


def let(program: Path, image: int = 0, exit_code: int = 0, crash: str = ":") -> None:
    """How it answers."""
    program.write_text(_ENGINE.format(image=image, exit=exit_code, crash=crash))


def told(engine: Path) -> list[str]:
    return Path(f"{engine}.log").read_text().splitlines()


def test_images_are_built_before(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    let(engine, image=1)
    assert main(["stop"]) == 1
    assert capsys.readouterr().err == "error: no image moshi-cluster/gateway:latest: `make images` builds it\n"
    assert told(engine)[-1].endswith("down --volumes --remove-orphans --timeout 5"), "nothing stays"
    assert not any(" up " in command or "pull" in command for command in told(engine)), "nor is a stranger's fetched"


def test_an_engine_is_needed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("ENGINE", raising=False)
    monkeypatch.setenv("PATH", "")
    assert main(["stop"]) == 1
    assert capsys.readouterr().err == "error: neither podman nor docker is there\n"


def test_a_scenario_has_to_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["storm"])
    assert "no scenario is called storm" in capsys.readouterr().err


def test_an_engine_that_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENGINE", "/nowhere/docker")
    assert main(["stop"]) == 1
    assert capsys.readouterr().err == "error: /nowhere/docker: No such file or directory\n"


def test_so_many_of_each_are_started_and_what_runs_is_left_alone(engine: Path) -> None:
    with Containers({}) as containers:
        containers.up(lm=2)
        assert containers.ids("lm") == ["one", "two"]
    project = "compose --project-name moshi-check"
    probe = "python -m services.common.probe 127.0.0.1:50053"
    assert told(engine) == [
        f"{project} --profile * down --volumes --remove-orphans --timeout 5",
        f"{project} up --detach --no-build --pull never --no-recreate --scale lm=2",
        f"{project} ps --quiet lm",
        f"exec one {probe}",
        f"exec two {probe}",
        f"{project} ps --quiet lm",
        f"{project} --profile * down --volumes --remove-orphans --timeout 5",
    ]


def test_a_crash_is_over_once_the_engine_has_started_the_container_again(engine: Path) -> None:
    let(engine, crash='echo again > "$0.starts"')
    with Containers({}) as containers:
        containers.crash("lm")


def test_what_did_not_crash_is_not_taken_for_what_serves_again(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.compose.containers.UP_TIMEOUT_S", 0.0)
    with Containers({}) as containers, pytest.raises(CheckFailed, match="the lm serves again: not within 0 s"):
        containers.crash("lm")


def test_nothing_is_hurt_where_nothing_runs(engine: Path) -> None:
    with Containers({}) as containers, pytest.raises(CheckFailed, match="no codec runs"):
        containers.kill("codec")


@pytest.mark.parametrize(("exit_code", "holds"), [(0, True), (137, False), (143, False)])
def test_who_does_not_end_by_themselves_break_a_promise(
    engine: Path, exit_code: int, holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    let(engine, exit_code=exit_code)
    monkeypatch.setattr(FollowedCallers, "_follow", lambda callers: callers._lines.put('{"up": 8}'))
    with Containers({}) as containers:
        check = ComposeCheck(containers, Ports(1, 2, 3), 8, 60.0)
        check.stop()
    assert bool(check.broken) is not holds
    assert check.report().count(f"lm {exit_code} {exit_code}") == (1 if holds else 2)


def test_what_the_engine_complains_of_is_told_and_containers_that_may_be_left(
    engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.write_text("""#!/bin/sh
case "$*" in
    *" up "*) touch "$0.up"; echo "no such service" >&2; exit 1 ;;
    *" down "*) [ ! -e "$0.up" ] || { echo "no such engine" >&2; exit 1; } ;;
    "image inspect"*) echo 7000000 ;;
esac
""")
    assert main(["stop"]) == 1
    left, why = capsys.readouterr().err.splitlines()[-2:]
    assert left.startswith("error: containers may be left: ") and left.endswith("no such engine")
    assert why.startswith("error: ") and why.endswith(": no such service")
