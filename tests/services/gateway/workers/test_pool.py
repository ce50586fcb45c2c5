"""The pool against real workers: found, watched, ranked, retried."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import pytest

from moshi_cluster.services.common.errors import NoFreeSlot, SessionError, Unavailable
from moshi_cluster.services.common.session_stream import Methods
from moshi_cluster.services.gateway.workers.pool import WorkerPool
from moshi_cluster.services.gateway.workers.worker import WatchTimes, Worker
from moshi_cluster.v1 import codec_pb2_grpc, worker_pb2, worker_pb2_grpc
from tests.services.gateway.cluster import EchoCodec, EchoLm
from tests.services.in_process import PATIENCE_S, eventually, few_turns, lasting_address, serving

pytestmark = pytest.mark.usefixtures("nothing_swallowed", "any_uptime")


@asynccontextmanager
async def watching(
    *targets: str, resolve_interval_s: float = 60.0, found: bool = True, **times: float
) -> AsyncIterator[WorkerPool]:
    """A pool that runs, and has found its first worker. times: of WatchTimes."""
    pool = WorkerPool("codec", targets, resolve_interval_s, retry_after_ms=250, times=WatchTimes(**times))
    running = asyncio.create_task(pool.run())
    try:
        if found:
            async with asyncio.timeout(PATIENCE_S):
                await pool.until_found()
        yield pool
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def address_of(worker: Worker) -> str:
    return worker.address


def known(pool: WorkerPool) -> dict[str, Worker]:
    return pool._workers


async def until_all_report(pool: WorkerPool, count: int) -> None:
    await eventually(lambda: sum(worker.takes_sessions for worker in known(pool).values()) == count)


@asynccontextmanager
async def two_workers(first_slots: int, second_slots: int) -> AsyncIterator[tuple[str, str, WorkerPool]]:
    """Their addresses and a pool that knows both."""
    async with (
        serving(EchoCodec(first_slots)) as first,
        serving(EchoCodec(second_slots)) as second,
        watching(first.target, second.target) as pool,
    ):
        await until_all_report(pool, 2)
        yield first.target, second.target, pool


async def test_when_the_last_worker_is_lost_the_wait_for_one_begins_again() -> None:
    async with contextlib.AsyncExitStack() as life, contextlib.AsyncExitStack() as first_life:
        address = (await first_life.enter_async_context(serving(EchoCodec()))).target
        pool = await life.enter_async_context(watching(address))
        reports: list[bool] = []
        pool.on_report = lambda: reports.append(pool.is_reachable)
        assert pool.without_s == 0
        await first_life.aclose()
        await eventually(lambda: not pool.is_reachable)
        await eventually(lambda: pool.without_s > 0)
        assert reports[-1] is False
        assert not pool.has_capacity
        waiting = asyncio.create_task(pool.until_found())
        await few_turns()
        assert not waiting.done()
        async with serving(EchoCodec(), address=address):
            await waiting
            assert reports[-1] is True
            assert pool.has_capacity
            await life.aclose()


async def test_a_worker_that_never_comes_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async with watching("127.0.0.1:1", found=False, retry_s=0.01, tell_after_s=0.0) as pool:
        await eventually(lambda: "worker out of reach, trying on worker=codec address=127.0.0.1:1" in caplog.text)
        for _ in range(5):
            await asyncio.sleep(0.02)
        assert caplog.text.count("out of reach") == 1
        assert not pool.usable


async def test_the_worker_with_the_most_free_slots_comes_first() -> None:
    async with two_workers(2, 5) as (small, large, pool):
        taken = [await pool.acquire(address_of) for _ in range(6)]
        assert taken[:3] == [large] * 3
        assert set(taken) == {large, small}


async def test_calls_spread_over_equal_workers_before_they_have_reported() -> None:
    async with two_workers(8, 8) as (one, other, pool):
        taken = [await pool.acquire(address_of) for _ in range(10)]
        assert taken.count(one) == taken.count(other) == 5


@pytest.mark.parametrize("refusal", [NoFreeSlot("full"), Unavailable("gone")])
async def test_a_refused_session_is_tried_elsewhere(refusal: SessionError) -> None:
    async with two_workers(5, 2) as (first, second, pool):

        async def open_on(worker: Worker) -> str:
            if worker.address == first:
                raise refusal
            return worker.address

        assert await pool.acquire(open_on) == second


async def test_any_other_failure_is_not_tried_elsewhere() -> None:
    async with two_workers(5, 2) as (first, second, pool):
        tried = []

        async def open_on(worker: Worker) -> None:
            tried.append(worker.address)
            raise SessionError("a bug")

        with pytest.raises(SessionError, match="a bug"):
            await pool.acquire(open_on)
        assert tried == [first]


async def test_full_workers_refuse_with_the_gateways_own_retry_hint() -> None:
    async def full(worker: Worker) -> None:
        raise NoFreeSlot("all encode slots are in use", retry_after_ms=1000)

    async with serving(EchoCodec(2)) as worker, watching(worker.target) as pool:
        with pytest.raises(NoFreeSlot) as refusal:
            await pool.acquire(full)
        assert refusal.value.retry_after_ms == 250


async def test_workers_whose_last_report_was_full_are_not_asked() -> None:
    codec = EchoCodec(1)
    async with serving(codec) as worker, watching(worker.target) as pool:
        held = codec_pb2_grpc.CodecStub(worker.channel).Encode()
        await held.initial_metadata()
        await eventually(lambda: known(pool)[worker.target].is_full)
        with pytest.raises(NoFreeSlot, match="every codec slot is in use"):
            await pool.acquire(address_of)
        held.cancel()
        await eventually(lambda: not known(pool)[worker.target].is_full)
        assert await pool.acquire(address_of) == worker.target


@pytest.mark.parametrize("full_first", [True, False])
async def test_one_full_worker_among_lost_ones_is_reason_to_try_again(full_first: bool) -> None:
    async with two_workers(5, 2) as (first, second, pool):
        full = first if full_first else second

        async def open_on(worker: Worker) -> None:
            raise NoFreeSlot("full") if worker.address == full else Unavailable("gone")

        with pytest.raises(NoFreeSlot):
            await pool.acquire(open_on)


async def test_without_a_worker_within_reach_calls_are_refused_as_unavailable() -> None:
    async with watching("127.0.0.1:1", found=False) as pool:
        await few_turns()
        with pytest.raises(Unavailable, match="no codec worker is within reach"):
            await pool.acquire(address_of)


async def test_a_draining_worker_gets_no_new_sessions() -> None:
    leaving, staying = EchoCodec(9), EchoCodec(2)
    async with serving(leaving) as first, serving(staying) as second, watching(first.target, second.target) as pool:
        await until_all_report(pool, 2)
        held = codec_pb2_grpc.CodecStub(first.channel).Encode()
        await held.initial_metadata()
        leaving.drain(60.0)
        await until_all_report(pool, 1)
        assert {await pool.acquire(address_of) for _ in range(2)} == {second.target}
        held.cancel()


async def test_a_worker_that_comes_back_is_found_again() -> None:
    async with contextlib.AsyncExitStack() as stack:
        target = lasting_address()
        async with serving(EchoCodec(2), address=target):
            pool = await stack.enter_async_context(watching(target))
            assert await pool.acquire(address_of) == target
        await until_all_report(pool, 0)
        with pytest.raises(Unavailable):
            await pool.acquire(address_of)
        async with serving(EchoCodec(2), address=target):
            await until_all_report(pool, 1)
            assert await pool.acquire(address_of) == target


class StandingStill(EchoCodec):
    """Reports once and then stands still, as a stopped process or a cut line does."""

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        names = super().register(server)
        worker_pb2_grpc.add_WorkerServicer_to_server(_ReportsOnce(), server)
        return names

    def register_worker(self, server: grpc.aio.Server, methods: Methods) -> list[str]:
        return ["moshi_cluster.v1.Worker"]


class _ReportsOnce(worker_pb2_grpc.WorkerServicer):
    async def WatchCapacity(self, request: worker_pb2.WatchCapacityRequest, context: grpc.aio.ServicerContext) -> None:
        await context.write(worker_pb2.Capacity(service="codec", slots_total=9))
        await asyncio.Event().wait()


async def test_a_worker_that_stands_still_is_as_good_as_gone() -> None:
    async with serving(StandingStill()) as worker, watching(worker.target, silence_max_s=0.1) as pool:
        await until_all_report(pool, 0)
        with pytest.raises(Unavailable):
            await pool.acquire(address_of)
        await until_all_report(pool, 1)  # it is asked again and again


async def test_a_gateway_that_stood_still_itself_does_not_blame_its_workers() -> None:
    async with serving(EchoCodec(2)) as worker, watching(worker.target) as pool:
        lost: list[bool] = []
        pool.on_report = lambda: lost.append(not pool.is_reachable)
        time.sleep(WatchTimes.silence_max_s + 0.2)  # noqa: ASYNC251 - that nothing runs is the point
        await eventually(lambda: len(lost) > 1)
        assert not any(lost)


async def test_a_worker_of_another_service_never_takes_sessions(caplog: pytest.LogCaptureFixture) -> None:
    lm = EchoLm(2)
    async with serving(lm) as listener, watching(listener.target, found=False) as pool:
        await eventually(lambda: "runs lm, expected codec" in caplog.text)
        with pytest.raises(Unavailable):
            await pool.acquire(address_of)
