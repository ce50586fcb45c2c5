"""That `make gpu` runs, tiny and on a CPU: every part gives figures, and a part that fails stops no other."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.limits import limits
from benchmarks.gpu.parts import MOST_SECONDS, PARTS, Part
from benchmarks.gpu.report import Figure, Note, Report, table
from benchmarks.gpu.scale import DRY_BATCHES, Scale

ROOT = Path(__file__).parents[3]


@pytest.mark.timeout(600)  # ten processes, each of which loads torch
def test_a_dry_run_has_figures_of_every_part_and_every_equality_holds(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--dry", "--results", str(results)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    entries = [json.loads(line) for line in results.read_text().splitlines()]
    assert {entry["part"] for entry in entries} == {part.name for part in PARTS}
    assert all(entry["value"] == 1 for entry in entries if entry.get("unit") == "passed")
    values, _, said = run.stdout.partition("| part | figure | value |")[2].partition("| part | figure | wanted |")
    for figure in ("copy, read + write", "8-bit weights: text tokens flipped", "turnaround p99", "decode p50"):
        assert figure in values
    without_upstream = [limit for limit in limits(DRY_BATCHES, 0) if limit.part != "upstream"]
    for limit in without_upstream:
        (row,) = [line for line in said.splitlines() if line.startswith(f"| {limit.part} | {limit.name} |")]
        assert "not run" not in row


def test_all_parts_together_keep_to_eight_minutes() -> None:
    assert sum(part.seconds for part in PARTS) <= MOST_SECONDS == 480


def test_without_a_device_it_says_how_to_run_dry(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert command.main() == 2
    assert "--dry" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("the card is gone\nsince noon"), "RuntimeError: the card is gone"),
        (StopIteration(), "StopIteration: "),
    ],
)
def test_a_part_that_fails_leaves_a_note(tmp_path: Path, error: Exception, text: str) -> None:
    def broken(scale: Scale) -> None:
        scale.figure("before", 1.0, "s")
        raise error

    report = Report(tmp_path / "results.jsonl")
    assert command._run_here(Part("broken", 1, broken), report, dry=True) == 1
    assert report.entries() == [Figure("broken", "before", 1.0, "s"), Note("broken", text)]


def test_a_failed_check_is_seen_in_the_table_and_by_the_exit_code() -> None:
    failed = Figure("checks", "recorded = eager", 0.0, "passed")
    assert failed.failed and command._is_bad(failed)
    assert not command._is_bad(Figure("step", "p50", 0.0, "ms"))
    assert "| checks | recorded = eager | FAILED |" in table([failed])
    assert not command._is_bad(Figure("checks", "a bucket of 128 = one of 64 (products may differ)", 0.0, "passed"))


def test_a_part_that_is_cut_off_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child"
    script = tmp_path / "part.sh"
    script.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {child}\nwait\n")
    script.chmod(0o755)
    monkeypatch.setattr(command.sys, "executable", str(script))
    report = Report(tmp_path / "results.jsonl")
    options = argparse.Namespace(results=report.path, dry=True)
    command._run_boxed(Part("hangs", 1, lambda scale: None), report, options, 5.0)
    assert report.entries()[0] == Note("hangs", "cut off after 5 s")
    _wait_until_dead(int(child.read_text()))


def _wait_until_dead(pid: int) -> None:
    """Until a killed process has ended, though perhaps nobody has asked how yet. Fails when it goes on."""
    for _ in range(600):
        try:
            if ") Z " in Path(f"/proc/{pid}/stat").read_text():
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.1)
    pytest.fail("it still runs")


def test_a_part_without_time_left_is_not_begun(tmp_path: Path) -> None:
    report = Report(tmp_path / "results.jsonl")
    command._run_boxed(PARTS[0], report, argparse.Namespace(results=report.path, dry=True), 0.0)
    assert report.entries() == [Note(PARTS[0].name, "cut off before it began")]
