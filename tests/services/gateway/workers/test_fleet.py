"""The worker fleet: reachable while each service has a worker, and how it says that one is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common.errors import NoFreeSlot, Unavailable
from moshi_cluster.services.common.lifecycle import Service
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.gateway.workers.fleet import WorkerFleet
from moshi_cluster.v1 import common_pb2
from tests.services.gateway.cluster import EchoCodec, EchoLm
from tests.services.in_process import eventually, serving

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

SAMPLING = common_pb2.Sampling(seed=1)


@asynccontextmanager
async def fleet_of(
    codec: Service, lm: Service, registry: CollectorRegistry | None = None, open_timeout_s: float = 10.0
) -> AsyncIterator[WorkerFleet]:
    """A fleet that has found both."""
    metrics = GatewayMetrics(registry or CollectorRegistry())
    async with serving(codec) as codecs, serving(lm) as lms:
        settings = GatewaySettings(
            codec_targets=(codecs.target,), lm_targets=(lms.target,), open_timeout_s=open_timeout_s
        )
        fleet = WorkerFleet(settings, metrics)
        try:
            await fleet.start()
            yield fleet
        finally:
            await fleet.stop()


async def test_it_has_capacity_while_each_service_has_a_free_slot() -> None:
    reports = asyncio.Event()
    async with fleet_of(EchoCodec(), EchoLm(1)) as fleet:
        fleet.on_report(reports.set)
        assert fleet.is_reachable and fleet.has_capacity
        streams = await fleet.open(SAMPLING, lambda most: ())
        await eventually(lambda: not fleet.has_capacity)
        assert fleet.is_reachable and reports.is_set()
        streams.cancel()
        await eventually(lambda: fleet.has_capacity)


async def test_a_call_that_gets_no_slot_is_counted_by_its_status() -> None:
    registry = CollectorRegistry()
    async with fleet_of(EchoCodec(), EchoLm(1), registry) as fleet:
        held = await fleet.open(SAMPLING, lambda most: ())
        with pytest.raises(NoFreeSlot):
            await fleet.open(SAMPLING, lambda most: ())
        held.cancel()
    labels = {"status": "RESOURCE_EXHAUSTED"}
    assert registry.get_sample_value("moshi_gateway_worker_rejections_total", labels) == 1


async def test_a_service_without_a_worker_is_named_after_the_time_to_open_a_call() -> None:
    codec = EchoCodec()
    async with fleet_of(codec, EchoLm(), open_timeout_s=0.1) as fleet:
        await fleet.until_reachable()
        fleet.require_reachable()
        codec.drain(60.0)
        await eventually(lambda: not fleet.is_reachable)
        with pytest.raises(Unavailable, match="no codec worker is within reach"):
            await fleet.until_reachable()
        with pytest.raises(Unavailable, match="no codec worker is within reach"):
            fleet.require_reachable()
