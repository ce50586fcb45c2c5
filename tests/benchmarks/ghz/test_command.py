from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from benchmarks.ghz import __main__ as command

_FAKE = """#!/bin/sh
echo "$@" >> {log}
while [ "$1" != --output ]; do shift; done
echo '{report}' > "$2"
"""


@pytest.fixture
def ghz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called ghz that notes its arguments and reports one call; the path of its notes."""
    monkeypatch.setattr(command, "REPORTS", tmp_path / "reports")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    report = {"details": [{"status": "OK", "latency": 10_000_000_000}], "errorDistribution": {}}
    program = tmp_path / "ghz"
    program.write_text(_FAKE.format(log=tmp_path / "log", report=json.dumps(report)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return tmp_path / "log"


def test_without_ghz_one_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command.main(["smoke"]) == 2
    assert "ghz is not on PATH" in capsys.readouterr().err


def test_each_scenario_is_run_against_the_service_that_it_calls(ghz: Path) -> None:
    targets = ["--target", "gate:1", "--codec-target", "codec:2", "--lm-target", "lm:3"]
    assert command.main(["smoke", "codec-only", "lm-only", *targets]) == 0
    runs = ghz.read_text().splitlines()
    assert [run.split()[-1] for run in runs] == ["gate:1", "codec:2", "lm:3"]
    assert all("--format json" in run for run in runs)


def test_another_number_of_calls_keeps_the_connections_within_it(ghz: Path) -> None:
    command.main(["telephony", "--calls", "3"])
    assert "--total=3 --concurrency=3 --connections=3" in ghz.read_text()


def test_an_unexpected_outcome_is_the_exit_code(ghz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["over-capacity"]) == 1
    assert "no ResourceExhausted" in capsys.readouterr().err


def test_an_unknown_scenario_is_refused(ghz: Path) -> None:
    with pytest.raises(SystemExit):
        command.main(["smoek"])
    assert not ghz.exists()
