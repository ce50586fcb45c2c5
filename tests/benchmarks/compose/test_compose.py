"""What a compose check needs, and what it does with a container engine; that it works is shown by running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compose.__main__ import main
from benchmarks.compose.containers import Containers

_ENGINE = """#!/bin/sh
echo "$@" >> "$0.log"
case "$*" in
    "image inspect"*|pull*) exit {image} ;;
    *" ps --quiet lm") echo one; echo two ;;
    "container inspect two") echo '[{{"State": {{"ExitCode": 143}}}}]' ;;
esac
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container engine that does nothing but remember."""
    program = tmp_path / "engine"
    program.write_text(_ENGINE.format(image=0))
    program.chmod(0o755)
    monkeypatch.setenv("ENGINE", str(program))
    return program


def told(engine: Path) -> list[str]:
    return Path(f"{engine}.log").read_text().splitlines()


def test_images_are_built_before(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine.write_text(_ENGINE.format(image=1))
    assert main(["stop"]) == 1
    assert capsys.readouterr().err == "error: no image moshi-cluster/gateway:latest: `make images` builds it\n"
    assert told(engine)[-1].endswith("down --volumes --remove-orphans --timeout 5"), "nothing stays"


def test_an_engine_is_needed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("ENGINE", raising=False)
    monkeypatch.setenv("PATH", "")
    assert main(["stop"]) == 1
    assert capsys.readouterr().err == "error: neither podman nor docker is there\n"


def test_a_scenario_has_to_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["storm"])
    assert "no scenario is called storm" in capsys.readouterr().err


def test_so_many_of_each_are_started_and_what_runs_is_left_alone(engine: Path) -> None:
    with Containers({}) as containers:
        containers.up(lm=2)
        assert containers.ids("lm") == ["one", "two"]
        assert containers.state("two") == {"ExitCode": 143}
    project = "compose --project-name moshi-check"
    probe = "python -m services.common.probe 127.0.0.1:50053"
    assert told(engine)[:4] == [
        f"{project} up --detach --no-build --no-recreate --scale lm=2",
        f"{project} ps --quiet lm",
        f"exec one {probe}",
        f"exec two {probe}",
    ]


def test_what_the_engine_complains_of_is_told_and_not_what_follows_from_it(
    engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.write_text(
        '#!/bin/sh\ncase "$*" in *compose*) echo "no such command" >&2; exit 1;; *inspect*) echo 7000000;; esac\n'
    )
    assert main(["stop"]) == 1
    assert capsys.readouterr().err.endswith(": no such command\n")
