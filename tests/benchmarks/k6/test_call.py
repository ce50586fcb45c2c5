"""A real k6 holds calls with a real cluster."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from tests.cluster.conftest import PATIENT

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("k6") is None, reason="k6 is not on the PATH (grafana.com/docs/k6)"),
]

SLOTS = 4
CALL_S = 2
FRAMES = round(CALL_S / 0.08)  # of one call
THRESHOLDS_BROKEN = 99
SCRIPT = Path(__file__).parents[3] / "benchmarks" / "k6" / "call.js"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(Layout(str(DEFAULT_CHECKPOINT), slots=SLOTS), PATIENT) as running:
        yield running


class K6:
    """A run of the script that is over."""

    def __init__(self, folder: Path, target: str, **variables: object) -> None:
        summary = folder / "summary.json"
        # Patient unless the test says otherwise: a busy machine answers late.
        asked = {"TARGET": target, "CALL_S": CALL_S, "TURNAROUND_MS": 60_000} | variables
        flags = [f"--env={name}={value}" for name, value in asked.items()]
        command = ["k6", "run", "--quiet", "--no-usage-report", f"--summary-export={summary}", *flags, str(SCRIPT)]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        self.code, self.log = run.returncode, run.stderr
        self.metrics: dict[str, dict[str, Any]] = json.loads(summary.read_text())["metrics"] if summary.exists() else {}


def test_every_call_of_every_step_ends_ok_and_has_a_turnaround(cluster: LocalCluster, tmp_path: Path) -> None:
    run = K6(tmp_path, cluster.address(), CALLS="1,3")
    assert run.code == 0, run.log
    for calls in (1, 3):
        step = f"{{scenario:calls_{calls}}}"
        assert run.metrics[f"calls_ok{step}"]["passes"] == calls
        answered = run.metrics[f"frames_late{step}"]
        assert answered["passes"] + answered["fails"] > calls * FRAMES / 2  # a late caller's frames may be dropped
    turnaround = run.metrics["turnaround"]
    assert 0 <= turnaround["min"] <= turnaround["max"] < 60_000 and turnaround["max"] > 0


def test_calls_beyond_the_slots_fail_the_run_by_their_status(cluster: LocalCluster, tmp_path: Path) -> None:
    run = K6(tmp_path, cluster.address(), CALLS=SLOTS + 2)
    assert run.code == THRESHOLDS_BROKEN
    assert run.log.count("ResourceExhausted") == 2, run.log
    assert run.metrics["calls_ok"]["passes"] == SLOTS


def test_a_turnaround_above_the_limit_fails_the_run(cluster: LocalCluster, tmp_path: Path) -> None:
    assert K6(tmp_path, cluster.address(), CALLS=1, TURNAROUND_MS=1).code == THRESHOLDS_BROKEN


def test_calls_that_reach_no_gateway_fail_the_run(tmp_path: Path) -> None:
    run = K6(tmp_path, "127.0.0.1:1", CALLS=1)
    assert run.code == THRESHOLDS_BROKEN
    assert "connection refused" in run.log


@pytest.mark.parametrize("wrong", [{"CALLS": "many"}, {"CALLS": "8,8"}, {"CALL_S": "0"}])
def test_a_variable_of_no_use_is_named(tmp_path: Path, wrong: dict[str, str]) -> None:
    run = K6(tmp_path, "127.0.0.1:1", **wrong)
    assert run.code not in (0, THRESHOLDS_BROKEN)
    assert f"{next(iter(wrong))}: " in run.log
