from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ghz import __main__ as command
from benchmarks.ghz import runner

_FAKE = """#!/bin/sh
echo "$@" >> {log}
while [ "$1" != --output ]; do shift; done
echo '{report}' > "$2"
"""


class FakeGhz:
    """What a program called ghz was asked; it reports one call of the length it is given."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.reports(length_s=10.0)

    def reports(self, length_s: float) -> None:
        call = {"status": "OK", "latency": length_s * 1e9, "timestamp": "2026-07-01T12:00:00.123456789Z"}
        report = json.dumps({"details": [call], "errorDistribution": {}})
        program = self._folder / "ghz"
        program.write_text(_FAKE.format(log=self._folder / "log", report=report))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    @property
    def targets(self) -> list[str]:
        log = self._folder / "log"
        return [line.split()[-1] for line in log.read_text().splitlines()] if log.exists() else []

    def configuration(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self._folder / "configurations" / f"{name}.json").read_text()))


@pytest.fixture
def ghz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGhz:
    for name in ("CONFIGURATIONS", "REPORTS"):
        monkeypatch.setattr(runner, name, tmp_path / name.lower())
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return FakeGhz(tmp_path)


def test_without_ghz_one_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command.main(["smoke"]) == 2
    assert "ghz is not on PATH" in capsys.readouterr().err


def test_each_scenario_is_run_against_the_service_that_it_calls_and_calibrated_where_that_has_loopback_calls(
    ghz: FakeGhz,
) -> None:
    ghz.reports(length_s=30.0)
    targets = ["--target", "gate:1", "--codec-target", "codec:2", "--lm-target", "lm:3"]
    assert command.main(["smoke", "codec-only", "lm-only", *targets]) == 0
    assert ghz.targets == ["gate:1", "gate:1", "codec:2", "lm:3"]
    assert ghz.configuration("smoke-calibration")["metadata"]["moshi-loopback"] == "true"


def test_another_number_of_calls_keeps_the_connections_within_it(ghz: FakeGhz) -> None:
    ghz.reports(length_s=60.0)
    assert command.main(["telephony", "--calls", "3"]) == 0
    for name in ("telephony", "telephony-calibration"):
        asked = ghz.configuration(name)
        assert [asked[key] for key in ("total", "concurrency", "connections")] == [3, 3, 3]


def test_calls_may_be_shorter_but_what_is_sent_once_is_not_sent_again(ghz: FakeGhz) -> None:
    assert command.main(["smoke", "codec-only", "--call-s", "2"]) == 0
    assert [ghz.configuration(name)["stream-call-count"] for name in ("smoke", "codec-only")] == [100, 25]
    command.main(["codec-only", "--call-s", "3600"])
    assert ghz.configuration("codec-only")["stream-call-count"] == 375


def test_an_unexpected_outcome_is_the_exit_code(ghz: FakeGhz, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["over-capacity"]) == 1
    assert "no ResourceExhausted" in capsys.readouterr().err


def test_a_call_that_ended_early_is_the_exit_code_whatever_ghz_says_of_it(
    ghz: FakeGhz, capsys: pytest.CaptureFixture[str]
) -> None:
    ghz.reports(length_s=0.041)
    assert command.main(["smoke"]) == 1
    said = capsys.readouterr()
    assert "1 ended early" in said.out
    assert "smoke-calibration: of no use: ended early, no OK" in said.err
    assert "lag" not in said.out


def test_an_unknown_scenario_is_refused(ghz: FakeGhz) -> None:
    with pytest.raises(SystemExit):
        command.main(["smoek"])
    assert not ghz.targets
