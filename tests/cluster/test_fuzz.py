"""Random and mutated messages against the real processes; `python -m benchmarks.fuzz` sends more of them."""

from __future__ import annotations

import pytest

from benchmarks.fuzz.__main__ import fuzz
from moshi_cluster.cluster.local_cluster import LocalCluster
from tests.cluster.callers import Line, call, slots_used, until

pytestmark = pytest.mark.cluster


async def test_two_thousand_random_messages_get_a_status_and_leave_nothing_behind(cluster: LocalCluster) -> None:
    tally = await fuzz(cluster.address(), messages=2000, seed=7, callers=4)
    assert tally.failures == []
    assert len(tally.statuses) > 1
    await until(lambda: slots_used(cluster, 0))
    reply = await call(cluster.address(), Line("mulaw", 8_000), 0.8)
    assert reply.ended is not None and reply.ended.counters.frames_out == 10
