"""The worker fleet: reachable while each service has a worker, and how it says that one is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

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
    async with fleet_of_many([codec], [lm], registry, open_timeout_s) as fleet:
        await fleet.until_reachable()
        yield fleet


@asynccontextmanager
async def fleet_of_many(
    codecs: Sequence[Service],
    lms: Sequence[Service],
    registry: CollectorRegistry | None = None,
    open_timeout_s: float = 10.0,
) -> AsyncIterator[WorkerFleet]:
    """A fleet that has heard of all of them, whether they fit each other or not."""
    async with AsyncExitStack() as stack:
        targets = [[(await stack.enter_async_context(serving(each))).target for each in kind] for kind in (codecs, lms)]
        settings = GatewaySettings(
            codec_targets=tuple(targets[0]), lm_targets=tuple(targets[1]), open_timeout_s=open_timeout_s
        )
        fleet = WorkerFleet(settings, GatewayMetrics(registry or CollectorRegistry()))
        starting = asyncio.create_task(fleet.start())
        try:
            await eventually(lambda: len(fleet.codec.taking) == len(codecs) and len(fleet.lm.taking) == len(lms))
            yield fleet
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await fleet.stop()


async def test_it_has_capacity_while_each_service_has_a_free_slot() -> None:
    reports = asyncio.Event()
    async with fleet_of(EchoCodec(), EchoLm(1)) as fleet:
        fleet.on_report(reports.set)
        assert fleet.is_reachable and fleet.has_capacity
        streams = await fleet.open(SAMPLING, lambda most: (0, ()))
        await eventually(lambda: not fleet.has_capacity)
        assert fleet.is_reachable and reports.is_set()
        streams.cancel()
        await eventually(lambda: fleet.has_capacity)


async def test_which_worker_is_lost_is_told_by_its_address() -> None:
    registry = CollectorRegistry()
    async with AsyncExitStack() as life, AsyncExitStack() as lms_life:
        codec = (await life.enter_async_context(serving(EchoCodec()))).target
        lm = (await lms_life.enter_async_context(serving(EchoLm()))).target
        fleet = WorkerFleet(GatewaySettings(codec_targets=(codec,), lm_targets=(lm,)), GatewayMetrics(registry))
        await fleet.start()
        life.push_async_callback(fleet.stop)
        up = partial(registry.get_sample_value, "moshi_gateway_worker_up")
        losses = partial(registry.get_sample_value, "moshi_gateway_worker_losses_total")
        lost = {"service": "lm", "address": lm, "reason": "lost"}
        await eventually(lambda: up({"service": "lm", "address": lm}) == 1)
        assert losses(lost) == 0
        await lms_life.aclose()
        await eventually(lambda: up({"service": "lm", "address": lm}) == 0)
        assert losses(lost) == 1
        assert losses(lost | {"service": "codec", "address": codec}) == 0


async def test_a_call_that_gets_no_slot_is_counted_by_its_status() -> None:
    registry = CollectorRegistry()
    async with fleet_of(EchoCodec(), EchoLm(1), registry) as fleet:
        held = await fleet.open(SAMPLING, lambda most: (0, ()))
        with pytest.raises(NoFreeSlot):
            await fleet.open(SAMPLING, lambda most: (0, ()))
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


def gauge(registry: CollectorRegistry, name: str, service: str) -> float | None:
    return registry.get_sample_value(f"moshi_gateway_{name}", {"service": service})


async def test_a_codec_and_an_lm_that_do_not_fit_are_as_if_they_were_not_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = CollectorRegistry()
    codec, lm = EchoCodec(checkpoint="c0dec", codebooks=4), EchoLm(checkpoint="1a0de1")
    async with fleet_of_many([codec], [lm], registry, open_timeout_s=0.1) as fleet:
        assert not fleet.is_reachable and not fleet.has_capacity
        problem = "the codec and the lm workers have different checkpoints and do not fit each other"
        with pytest.raises(Unavailable, match=problem) as refusal:
            await fleet.open(SAMPLING, lambda most: (0, ()))
        assert refusal.value.retry_after_ms is not None
        with pytest.raises(Unavailable, match=problem):
            await fleet.until_reachable()
        await eventually(lambda: fleet.codec.without_s > 0.1)
        with pytest.raises(Unavailable, match=problem):
            fleet.require_reachable()
        assert codec.live_sessions == lm.live_sessions == 0
        for service in ("codec", "lm"):
            assert (gauge(registry, "workers", service), gauge(registry, "workers_unfit", service)) == (0, 1)
        (warning,) = [line for line in caplog.messages if "do not fit" in line]
        for part in ("service=codec checkpoint=c0dec codes=4+4x64", "service=lm checkpoint=1a0de1 codes=8+8x64"):
            assert part in warning
        for worker in (*fleet.codec.taking, *fleet.lm.taking):
            assert worker.address in warning


async def test_calls_are_placed_on_workers_that_fit_each_other_only() -> None:
    registry = CollectorRegistry()
    foreign, fitting, lm = EchoCodec(9, codebooks=4), EchoCodec(2), EchoLm()
    async with fleet_of_many([foreign, fitting], [lm], registry) as fleet:
        held = [await fleet.open(SAMPLING, lambda most: (0, ())) for _ in range(2)]
        assert (foreign.live_sessions, fitting.live_sessions, lm.live_sessions) == (0, 4, 2)
        with pytest.raises(NoFreeSlot, match="codec"):
            await fleet.open(SAMPLING, lambda most: (0, ()))
        await eventually(lambda: not fleet.has_capacity)
        assert fleet.is_reachable
        assert (gauge(registry, "workers", "codec"), gauge(registry, "workers_unfit", "codec")) == (1, 1)
        assert (gauge(registry, "workers", "lm"), gauge(registry, "workers_unfit", "lm")) == (1, 0)
        for streams in held:
            streams.cancel()


async def test_two_models_side_by_side_serve_calls_of_their_own() -> None:
    codecs = [EchoCodec(2, codebooks=4), EchoCodec(2, codebooks=8)]
    lms = [EchoLm(2, codebooks=4), EchoLm(1, codebooks=8)]
    async with fleet_of_many(codecs, lms) as fleet:
        held = [await fleet.open(SAMPLING, lambda most: (0, ())) for _ in range(3)]
        assert [worker.live_sessions for worker in (*codecs, *lms)] == [4, 2, 2, 1]
        with pytest.raises(NoFreeSlot):
            await fleet.open(SAMPLING, lambda most: (0, ()))
        for streams in held:
            streams.cancel()


async def test_a_fleet_that_fits_again_is_within_reach_again() -> None:
    foreign, lm = EchoCodec(codebooks=4), EchoLm()
    async with fleet_of_many([foreign], [lm], open_timeout_s=0.1) as fleet:
        assert not fleet.is_reachable
        lm.drain(60.0)
        await eventually(lambda: not fleet.lm.taking)
        assert fleet.codec.usable, "it is the lm that is missing now"
        with pytest.raises(Unavailable, match="no lm worker is within reach"):
            await fleet.open(SAMPLING, lambda most: (0, ()))


async def test_several_checkpoints_within_a_service_are_told_once_each_and_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = CollectorRegistry()
    lms = [EchoLm(checkpoint=checkpoint) for checkpoint in ("aaaa", "bbbb", "bbbb")]
    async with fleet_of_many([EchoCodec()], lms, registry) as fleet:
        assert gauge(registry, "worker_checkpoints", "codec") == 1
        assert gauge(registry, "worker_checkpoints", "lm") == 2
        for _ in range(3):
            (await fleet.open(SAMPLING, lambda most: (0, ()))).cancel()
            await eventually(lambda: not any(lm.live_sessions for lm in lms))
        lms[0].drain(60.0)
        await eventually(lambda: gauge(registry, "worker_checkpoints", "lm") == 1)
    told = [line for line in caplog.messages if "one of several checkpoints" in line]
    assert ["aaaa" in line for line in told].count(True) == 1
    assert ["bbbb" in line for line in told].count(True) == 1


async def test_a_conversation_goes_on_with_the_checkpoint_that_it_began_with_and_with_no_other() -> None:
    old, new = EchoLm(1, checkpoint="01d"), EchoLm(9, checkpoint="2e3")
    async with fleet_of_many([EchoCodec()], [old, new]) as fleet:
        assert fleet.can_go_on("") and fleet.can_go_on("01d") and not fleet.can_go_on("another")
        streams = await fleet.open(SAMPLING, lambda most: (0, ()), "01d")
        assert (streams.lm.checkpoint, old.live_sessions, new.live_sessions) == ("01d", 1, 0)
        with pytest.raises(NoFreeSlot, match="lm"):
            await fleet.open(SAMPLING, lambda most: (0, ()), "01d")
        with pytest.raises(Unavailable, match="no lm worker with the conversation's checkpoint is within reach"):
            await fleet.open(SAMPLING, lambda most: (0, ()), "another")
        streams.cancel()


async def test_calls_are_placed_on_pairs_that_belong_together_and_on_others_when_those_are_full() -> None:
    registry = CollectorRegistry()
    codecs = [EchoCodec(12, checkpoint="c01d"), EchoCodec(1, checkpoint="c2e3")]
    lms = [EchoLm(9, checkpoint="01d", codec_checkpoint="c01d"), EchoLm(2, checkpoint="2e3", codec_checkpoint="c2e3")]
    async with fleet_of_many(codecs, lms, registry) as fleet:
        held = []
        for _ in range(11):
            held.append(await fleet.open(SAMPLING, lambda most: (0, ())))
            await eventually(lambda: sum(lm.live_sessions for lm in lms) == len(held))
        belong = {("c01d", "01d"), ("c2e3", "2e3")}
        placed = [(streams.encode.checkpoint, streams.lm.checkpoint) for streams in held]
        assert set(placed[:10]) == belong, "ten fit so"
        assert placed[10] == ("c01d", "2e3")
        with pytest.raises(NoFreeSlot):
            await fleet.open(SAMPLING, lambda most: (0, ()))
        for service, checkpoint in (("codec", "c01d"), ("codec", "c2e3"), ("lm", "01d"), ("lm", "2e3")):
            labels = {"service": service, "checkpoint": checkpoint}
            assert registry.get_sample_value("moshi_gateway_checkpoint_workers", labels) == 1
        for streams in held:
            streams.cancel()


async def test_what_no_worker_has_loaded_any_more_is_not_shown() -> None:
    registry = CollectorRegistry()
    old = EchoLm(checkpoint="01d")
    async with fleet_of_many([EchoCodec()], [old, EchoLm(checkpoint="2e3")], registry):
        name, labels = "moshi_gateway_checkpoint_workers", {"service": "lm", "checkpoint": "01d"}
        assert registry.get_sample_value(name, labels) == 1
        old.drain(60.0)
        await eventually(lambda: registry.get_sample_value(name, labels) is None)
