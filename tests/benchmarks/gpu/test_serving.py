"""That the services are started and called as on a card, with a small model on a CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.report import Figure, Report

ROOT = Path(__file__).parents[3]


@pytest.mark.timeout(300)  # three services start, and a driver
def test_a_dry_run_calls_the_services_through_every_gateway(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    command = ["-m", "benchmarks.gpu.serving", "--dry", "--callers", "2", "--gateways", "2", "--seconds", "2"]
    run = subprocess.run(
        [sys.executable, *command, "--results", str(results)], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert run.returncode == 0, run.stdout + run.stderr
    figures = {entry.name: entry for entry in Report(results).entries() if isinstance(entry, Figure)}
    assert str(figures["every driver ended well"]) == "passed"
    for gateway in range(2):
        callers = f"callers of gateway {gateway}"
        assert figures[f"{callers}: turnaround p99"].value > 0
        assert str(figures[f"{callers}: ended well"]) == "1 of 1 calls"
    assert figures["all, lm step p50"].value > 0
