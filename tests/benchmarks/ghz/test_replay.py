"""The running cluster takes what ghz would send, shortened."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from grpc import StatusCode

from benchmarks.ghz.scenario import NAMES, load
from moshi_cluster.cluster.local_cluster import LocalCluster
from tests.benchmarks.ghz.conftest import SLOTS
from tests.benchmarks.ghz.replay import shortened, statuses
from tests.cluster.callers import slots_used, until

pytestmark = pytest.mark.cluster


def replay(cluster: LocalCluster, name: str, calls: int, loops: float = 2.5) -> list[StatusCode]:
    """Twelve messages of the scenario's array, so many times over where it loops: about half a second of short ones."""
    scenario = load(name)
    return statuses(shortened(scenario, 12, loops), cluster.address(f"{scenario.service}-0"), calls)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "over-capacity"])
def test_the_cluster_accepts_the_sequence(cluster: LocalCluster, name: str) -> None:
    assert replay(cluster, name, calls=2) == [StatusCode.OK] * 2


async def test_calls_beyond_the_slots_are_refused_and_the_others_are_not(cluster: LocalCluster) -> None:
    await until(lambda: slots_used(cluster, 0))
    ended = await asyncio.to_thread(replay, cluster, "over-capacity", 2 * SLOTS, loops=0.25)
    assert sorted(ended, key=str) == [StatusCode.OK] * SLOTS + [StatusCode.RESOURCE_EXHAUSTED] * SLOTS


@pytest.mark.parametrize("name", ["codec-only", "lm-only"])
def test_an_array_with_frame_numbers_is_not_accepted_looped(cluster: LocalCluster, name: str) -> None:
    scenario = load(name)
    looped = replace(shortened(scenario, 3, 1), sends=5)
    assert statuses(looped, cluster.address(f"{scenario.service}-0"), 1) == [StatusCode.INVALID_ARGUMENT]


def test_an_option_in_the_metadata_counts_and_a_bad_one_is_refused(cluster: LocalCluster) -> None:
    scenario = load("telephony")
    wrong = replace(scenario, config={**scenario.config, "metadata": {"moshi-reply-packet-ms": "25"}})
    assert statuses(shortened(wrong, 12, 1), cluster.address(), 1) == [StatusCode.INVALID_ARGUMENT]
    assert statuses(shortened(scenario, 12, 1), cluster.address(), 1) == [StatusCode.OK]
