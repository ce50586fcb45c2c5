"""A real ghz calls a real cluster: scenarios with shorter calls, and what they find when something is wrong."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess

import pytest

from benchmarks.ghz import __main__ as command
from benchmarks.ghz import runner
from benchmarks.ghz.scenario import FOLDER, load
from moshi_cluster.cluster.local_cluster import LocalCluster
from tests.benchmarks.ghz.conftest import SLOTS
from tests.cluster.callers import slots_used, until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("ghz") is None, reason="ghz is not on the PATH (github.com/bojand/ghz)"),
]

# The share of late frames is looked at from the 50th frame, 4 s, on: a busy test machine keeps these calls' limits.
CALL_S = "2"


def arguments(cluster: LocalCluster, *more: str) -> list[str]:
    services = {"--target": "gateway-0", "--codec-target": "codec-0", "--lm-target": "lm-0"}
    return [*more, *(f"{flag}={cluster.address(name)}" for flag, name in services.items())]


@pytest.mark.parametrize("name", ["smoke", "telephony", "codec-only", "lm-only"])
def test_a_scenario_is_as_expected(cluster: LocalCluster, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments(cluster, name, "--calls=2", "--call-s", CALL_S)) == 0
    said = capsys.readouterr().out
    assert f"{name:<13} 2 OK; length - ideal: median" in said
    assert ("; lag at the end: median" in said) == (load(name).service == "gateway")


async def test_calls_beyond_the_slots_are_refused_and_ghz_counts_each(
    cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    await until(lambda: slots_used(cluster, 0))
    asked = arguments(cluster, "over-capacity", f"--calls={2 * SLOTS}", "--call-s", CALL_S)
    assert await asyncio.to_thread(command.main, asked) == 0
    assert f"{SLOTS} OK, {SLOTS} ResourceExhausted; " in capsys.readouterr().out


async def test_calls_that_are_answered_late_fail_by_their_slo_with_one_text(cluster: LocalCluster) -> None:
    await until(lambda: slots_used(cluster, 0))
    asked = load("smoke").with_calls(2).with_call_s(8)
    running = asyncio.create_task(asyncio.to_thread(runner.run, asked, cluster.address()))
    await until(lambda: slots_used(cluster, 2))
    await asyncio.sleep(1.0)  # the calls are up and speak
    cluster.signal("lm-0", signal.SIGSTOP)
    await asyncio.sleep(1.0)
    cluster.signal("lm-0", signal.SIGCONT)
    result = await running
    assert result is not None
    assert result.unexpected == ["DeadlineExceeded", "no OK"]
    assert result.errors == {"rpc error: code = DeadlineExceeded desc = slo: share of late frames": 2}


def test_a_scenario_runs_by_hand(cluster: LocalCluster) -> None:
    by_hand = ["ghz", "--config", str(FOLDER / "smoke.json"), "--stream-call-count=100", cluster.address()]
    said = subprocess.run(by_hand, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "[OK]   2 responses" in said
