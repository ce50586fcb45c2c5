"""Reservations: how many calls there may be, who is refused and how, what is free again afterwards."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.services.gateway.caller import START, Caller, status_after
from tests.services.gateway.cluster import EchoCodec, EchoLm, cluster
from tests.services.gateway.workers.test_streams import SilentLm
from tests.services.in_process import PATIENCE_S, eventually, few_turns

pytestmark = pytest.mark.usefixtures("nothing_swallowed")


def retry_after_ms(error: grpc.aio.AioRpcError) -> int:
    """The stock hint of a refusal."""
    status = rpc_status.from_call(error)
    detail, _ = status.details
    retry = error_details_pb2.RetryInfo()
    assert detail.Unpack(retry)
    return round(retry.retry_delay.ToMilliseconds())


@pytest.mark.parametrize("what_is_full", ["gateway", "codec", "lm"])
async def test_a_call_too_many_is_refused_with_a_hint_when_to_try_again(what_is_full: str) -> None:
    codec = EchoCodec(2 if what_is_full == "codec" else 8)
    lm = EchoLm(2 if what_is_full == "lm" else 8)
    async with cluster([codec], [lm], max_sessions=2 if what_is_full == "gateway" else 100) as all_of_it:
        held = [Caller(all_of_it.stub) for _ in range(2)]
        for caller in held:
            await caller.start()
        refused = Caller(all_of_it.stub)
        await refused.send_start()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await refused.rest()
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry_after_ms(error.value) == 250
        for caller in held:
            await caller.say_levels([1])
            assert (await caller.hang_up()).levels == [1]
        await all_of_it.until_free()


async def test_a_client_beyond_its_own_number_of_calls_is_refused_alone() -> None:
    async with cluster(max_sessions_per_client=1) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        code, details = await status_after(all_of_it, START)
        assert (code, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "this client already holds all its calls")
        await caller.hang_up()
        await all_of_it.until_free()
        again = Caller(all_of_it.stub)
        await again.start()
        await again.hang_up()


@pytest.mark.parametrize("slots", [1, 3, 8])
async def test_a_burst_of_calls_fills_every_slot_and_no_more(slots: int) -> None:
    async with cluster([EchoCodec(slots)], [EchoLm(slots)]) as all_of_it:
        callers = [Caller(all_of_it.stub) for _ in range(slots + 2)]
        for caller in callers:
            await caller.send_start()
            await caller.say_levels([1])
            await caller.call.done_writing()
        outcomes = await asyncio.gather(*(caller.status() for caller in callers))
        served = [code for code, _ in outcomes if code == grpc.StatusCode.OK]
        assert {code for code, _ in outcomes} <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert len(served) >= slots
        await all_of_it.until_free()


async def test_a_slot_is_free_again_after_every_kind_of_end() -> None:
    async with cluster([EchoCodec(1)], [EchoLm(1)], max_sessions=1) as all_of_it:
        for end in ("hang up", "cancel", "nonsense", "hang up"):
            caller = Caller(all_of_it.stub)
            await caller.start()
            await caller.say_levels([1])
            if end == "hang up":
                assert (await caller.hang_up()).levels == [1]
            elif end == "cancel":
                caller.call.cancel()
            else:
                await caller.say(bytes(1))
                await caller.status()
            await all_of_it.until_free()
            await eventually(lambda: all_of_it.manager.fleet.has_capacity)


async def test_without_workers_a_call_is_unavailable() -> None:
    lm = EchoLm()
    async with cluster(lms=[lm]) as all_of_it:
        lm.drain(60.0)
        await eventually(lambda: all_of_it.sample("moshi_gateway_workers", service="lm") == 0)
        code, details = await status_after(all_of_it, START)
        assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "no lm worker is within reach")
        assert all_of_it.sample("moshi_gateway_worker_rejections_total", status="UNAVAILABLE") == 1
        await all_of_it.until_free()


async def test_workers_that_do_not_open_the_call_in_time_are_unavailable() -> None:
    async with cluster(lms=[SilentLm()], open_timeout_s=0.1) as all_of_it:
        code, details = await status_after(all_of_it, START)
        assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "the workers did not open the call in time")
        await all_of_it.until_free()


async def test_loopback_calls_have_a_limit_of_their_own() -> None:
    async with cluster(max_loopback_sessions=2, max_sessions=1) as all_of_it:
        loopbacks = [Caller(all_of_it.stub) for _ in range(2)]
        for loopback in loopbacks:
            await loopback.start(loopback=True)
        refused = Caller(all_of_it.stub)
        await refused.send_start(loopback=True)
        with pytest.raises(grpc.aio.AioRpcError, match="this gateway holds all its loopback calls") as error:
            await refused.rest()
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry_after_ms(error.value) == 250

        caller = Caller(all_of_it.stub)  # whose place they do not take
        await caller.start()
        assert all_of_it.sample("moshi_gateway_calls_active") == 3
        await caller.hang_up()
        await loopbacks[0].hang_up()
        again = Caller(all_of_it.stub)
        await again.start(loopback=True)
        await again.hang_up()
        await loopbacks[1].hang_up()
        await all_of_it.until_free()


async def test_a_gateway_waits_for_its_loopback_calls_to_end() -> None:
    async with cluster() as all_of_it:
        loopback = Caller(all_of_it.stub)
        await loopback.start(loopback=True)
        assert all_of_it.service.live_sessions == 1
        idle = asyncio.create_task(all_of_it.service.until_idle())
        await few_turns()
        assert not idle.done()
        await loopback.hang_up()
        async with asyncio.timeout(PATIENCE_S):
            await idle
