"""What every process shows of itself."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common.process_metrics import STATES, ProcessMetrics
from tests.services.in_process import eventually


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def states(registry: CollectorRegistry) -> dict[str, float | None]:
    return {state: registry.get_sample_value("moshi_lm_state", {"state": state}) for state in STATES}


def test_a_process_is_in_one_state_and_begins_with_loading(registry: CollectorRegistry) -> None:
    process = ProcessMetrics("lm", registry)
    assert states(registry) == {"loading": 1, "serving": 0, "away": 0, "draining": 0, "failed": 0}
    process.state("serving")
    assert states(registry) == {"loading": 0, "serving": 1, "away": 0, "draining": 0, "failed": 0}


def test_a_drain_says_when_its_grace_is_over(registry: CollectorRegistry) -> None:
    process = ProcessMetrics("lm", registry)
    assert registry.get_sample_value("moshi_lm_drain_ends_timestamp_seconds") == 0
    before_s = time.time()
    process.draining(3600.0)
    ends_s = registry.get_sample_value("moshi_lm_drain_ends_timestamp_seconds")
    assert states(registry)["draining"] == 1
    assert ends_s is not None and before_s + 3600 <= ends_s <= time.time() + 3600


def test_the_build_says_its_version_and_revision(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSHI_REVISION", "abc123")
    ProcessMetrics("lm", registry)
    [sample] = [s for family in registry.collect() for s in family.samples if s.name == "moshi_lm_build_info"]
    assert (sample.value, sample.labels["revision"]) == (1, "abc123")
    assert sample.labels["version"] != "unknown"


async def test_a_loop_that_stands_still_is_late(registry: CollectorRegistry) -> None:
    process = ProcessMetrics("lm", registry)
    watching = asyncio.create_task(process.watch_loop(look_s=0.001))
    await eventually(lambda: bool(registry.get_sample_value("moshi_lm_loop_lag_seconds_count")))
    asyncio.get_running_loop().call_soon(time.sleep, 0.3)
    await eventually(lambda: (registry.get_sample_value("moshi_lm_loop_lag_seconds_sum") or 0) > 0.2)
    watching.cancel()
    await asyncio.wait((watching,))
