"""What a gateway learns from a worker's capacity stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import grpc
import pytest
import pytest_asyncio

from moshi_cluster.services.common.worker.capacity import CapacityServicer
from moshi_cluster.services.common.worker.drain import Drain
from moshi_cluster.services.common.worker.program import PrepareStats, StepStats
from moshi_cluster.services.common.worker.slots import SlotTable
from moshi_cluster.v1 import codec_pb2_grpc, worker_pb2, worker_pb2_grpc
from tests.services.fake_workers import BINS, CODEBOOKS, FINGERPRINT, FakeCodec, FakeLm, pcm_frame
from tests.services.in_process import PATIENCE_S, Listening, eventually, listening, read, serving, status_of

pytestmark = pytest.mark.usefixtures("nothing_swallowed")
SLOTS = 2
CODES: dict[str, Any] = {"user_codebooks": CODEBOOKS, "moshi_codebooks": CODEBOOKS, "codebook_size": BINS}


@pytest_asyncio.fixture
async def codec() -> FakeCodec:
    return FakeCodec(SLOTS)


@pytest_asyncio.fixture
async def listener(codec: FakeCodec) -> AsyncIterator[Listening]:
    async with serving(codec) as listener:
        yield listener


def watch(listener: Listening) -> Any:
    return worker_pb2_grpc.WorkerStub(listener.channel).WatchCapacity(worker_pb2.WatchCapacityRequest())


async def until(call: Any, is_awaited: Callable[[worker_pb2.Capacity], bool]) -> worker_pb2.Capacity:
    """The next such state; those before are heartbeats and states on the way."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_awaited(state := await read(call)):
            pass
    return cast(worker_pb2.Capacity, state)


async def until_used(call: Any, slots: int) -> None:
    await until(call, lambda state: state.slots_used == slots)


async def test_the_state_is_told_at_once(listener: Listening) -> None:
    call = watch(listener)
    expected = worker_pb2.Capacity(service="codec", slots_total=SLOTS, slots_used=0, checkpoint=FINGERPRINT, **CODES)
    assert await read(call) == expected
    call.cancel()


async def test_every_watcher_learns_of_a_slot_taken_and_given_back(listener: Listening) -> None:
    watchers = [watch(listener) for _ in range(3)]
    for watcher in watchers:
        await read(watcher)
    stream = codec_pb2_grpc.CodecStub(listener.channel).Encode()
    for watcher in watchers:
        await until_used(watcher, 1)
    stream.cancel()
    for watcher in watchers:
        await until_used(watcher, 0)
        watcher.cancel()


async def test_the_fuller_table_counts(listener: Listening) -> None:
    stub = codec_pb2_grpc.CodecStub(listener.channel)
    streams = [stub.Decode(), stub.Decode(), stub.Encode()]
    for stream in streams:
        await stream.initial_metadata()
    call = watch(listener)
    assert (await read(call)).slots_used == 2
    for stream in (*streams, call):
        stream.cancel()


async def test_a_worker_tells_its_longest_step_opening_work_included(codec: FakeCodec, listener: Listening) -> None:
    call = watch(listener)
    assert (await read(call)).step_max_us == 0
    codec.observe(StepStats("encode", 0.020, [0.0], 0))
    codec.observe(PrepareStats("decode", 0.035))
    codec.observe(StepStats("decode", 0.004, [0.0], 0))
    await until(call, lambda state: state.step_max_us == 35_000)
    call.cancel()


async def test_an_lm_tells_how_far_it_looks_back() -> None:
    async with serving(FakeLm(SLOTS, context=250)) as listener:
        call = watch(listener)
        expected = worker_pb2.Capacity(
            service="lm", slots_total=SLOTS, checkpoint=FINGERPRINT, context_frames=250, **CODES
        )
        assert await read(call) == expected
        call.cancel()


def no_drain() -> Drain:
    return Drain(0.0, lambda: None, lambda: None)


async def test_the_state_is_repeated_when_nothing_changes() -> None:
    server = grpc.aio.server()
    servicer = CapacityServicer("codec", lambda: [SlotTable("encode", SLOTS)], no_drain(), heartbeat_s=0.01)
    worker_pb2_grpc.add_WorkerServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = worker_pb2_grpc.WorkerStub(channel).WatchCapacity(worker_pb2.WatchCapacityRequest())
        state = worker_pb2.Capacity(service="codec", slots_total=SLOTS)
        assert [await read(call) for _ in range(4)] == [state] * 4
        call.cancel()
    await server.stop(None)


async def test_a_loading_worker_has_no_slots() -> None:
    codec = FakeCodec()
    async with listening(codec) as listener:
        call = watch(listener)
        assert await read(call) == worker_pb2.Capacity(service="codec")
        await codec.start()
        state = await until(call, lambda state: state.slots_total > 0)
        assert state == worker_pb2.Capacity(service="codec", slots_total=SLOTS, checkpoint=FINGERPRINT, **CODES)
        call.cancel()


async def test_a_drain_is_told_and_the_watch_ends_with_the_last_session(codec: FakeCodec, listener: Listening) -> None:
    stream = codec_pb2_grpc.CodecStub(listener.channel).Encode()
    await stream.initial_metadata()
    call = watch(listener)
    assert not (await read(call)).draining
    codec.drain(grace_s=60)
    draining = await until(call, lambda state: state.draining)
    assert draining.slots_used == 1 and 30_000 < draining.grace_ms <= 60_000
    assert (await until(call, lambda state: state.grace_ms < draining.grace_ms)).draining, "it is what is left"
    await stream.done_writing()
    assert await status_of(call) == (grpc.StatusCode.UNAVAILABLE, "the worker is stopping")


async def test_a_worker_whose_engine_failed_asks_for_no_more_sessions(codec: FakeCodec, listener: Listening) -> None:
    call = watch(listener)
    await read(call)
    codec.encoder.failure = RuntimeError("device lost")
    stream = codec_pb2_grpc.CodecStub(listener.channel).Encode()
    await stream.write(pcm_frame(0))
    assert (await status_of(stream))[0] == grpc.StatusCode.INTERNAL
    await until(call, lambda state: state.draining)
    call.cancel()


async def test_a_watcher_that_leaves_is_forgotten(codec: FakeCodec, listener: Listening) -> None:
    watchers = codec._capacity._watchers
    call = watch(listener)
    await read(call)
    assert len(watchers) == 1
    call.cancel()
    await eventually(lambda: not watchers)


async def test_a_stopping_server_ends_its_watches(listener: Listening) -> None:
    call = watch(listener)
    await read(call)
    stopping = asyncio.create_task(listener.server.stop(0))
    assert (await status_of(call))[0] == grpc.StatusCode.UNAVAILABLE
    await stopping
