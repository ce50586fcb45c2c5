"""A worker as its gateway sees it: up, frozen, draining."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from moshi_cluster.services.common.mux.client import MuxStream, StreamEnded
from moshi_cluster.services.common.mux.server import MuxServicer
from moshi_cluster.services.common.session_stream import Methods
from moshi_cluster.services.gateway.workers.worker import WatchTimes, Worker
from moshi_cluster.v1 import codec_pb2, trunk_pb2_grpc, worker_pb2, worker_pb2_grpc
from tests.services.fake_workers import pcm_frame
from tests.services.gateway.cluster import EchoCodec
from tests.services.in_process import PATIENCE_S, eventually, lasting_address, serving

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

ENCODE = "/moshi_cluster.v1.Codec/Encode"


class Freezing(EchoCodec):
    """Reports until `thawed` is cleared; its connection stands all the while, as that of a stopped process does. Once
    `leaves` is set, its reports end as those of a worker do that has drained.
    """

    def __init__(self) -> None:
        super().__init__(4)
        self.thawed = asyncio.Event()
        self.thawed.set()
        self.leaves = asyncio.Event()

    def register_worker(self, server: grpc.aio.Server, methods: Methods) -> list[str]:
        worker_pb2_grpc.add_WorkerServicer_to_server(_Reports(self.thawed, self.leaves), server)
        trunk_pb2_grpc.add_TrunkServicer_to_server(MuxServicer(methods, self.draining), server)
        return ["moshi_cluster.v1.Worker", "moshi_cluster.v1.Trunk"]


class _Reports(worker_pb2_grpc.WorkerServicer):
    def __init__(self, thawed: asyncio.Event, leaves: asyncio.Event) -> None:
        self._thawed = thawed
        self._leaves = leaves

    async def WatchCapacity(self, request: worker_pb2.WatchCapacityRequest, context: grpc.aio.ServicerContext) -> None:
        while True:
            await self._thawed.wait()
            leaves = self._leaves.is_set()
            await context.write(worker_pb2.Capacity(service="codec", slots_total=4, draining=leaves))
            if leaves:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the worker is stopping")
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watched(target: str, **times: float) -> AsyncIterator[Worker]:
    """A worker that is up. times: of WatchTimes."""
    worker = Worker(target, "codec", WatchTimes(**times))
    watching = asyncio.create_task(worker.watch(lambda: None))
    try:
        await eventually(lambda: worker.takes_sessions)
        yield worker
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await worker.close()


async def held_stream(worker: Worker) -> MuxStream[codec_pb2.CodeFrame]:
    stream = worker.mux.open(ENCODE, codec_pb2.CodeFrame)
    async with asyncio.timeout(PATIENCE_S):
        await stream.until_held()
    return stream


async def test_a_frozen_worker_loses_its_streams_at_once_and_serves_again_once_it_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    codec = Freezing()
    async with serving(codec) as listener, watched(listener.target, silence_max_s=2.0, retry_s=0.01) as worker:
        streams = [await held_stream(worker) for _ in range(2)]
        codec.thawed.clear()
        for stream in streams:
            with pytest.raises(StreamEnded, match="^the codec worker is lost$") as ended:
                async with asyncio.timeout(PATIENCE_S):
                    await stream.read()
            assert ended.value.code is grpc.StatusCode.UNAVAILABLE
        assert not worker.takes_sessions and worker.mux.streams == 0
        assert f"worker down address={listener.target} why=no report within 2 s" in caplog.text
        await eventually(lambda: not codec.live_sessions)  # it hears of it as soon as it listens
        codec.thawed.set()
        await eventually(lambda: worker.takes_sessions)
        again = await held_stream(worker)
        await again.write(pcm_frame(0))
        assert await again.read() is not None


async def test_a_worker_that_leaves_takes_no_answer_with_it() -> None:
    codec = Freezing()
    async with serving(codec) as listener, watched(listener.target, retry_s=0.05) as worker:
        stream = await held_stream(worker)
        await stream.write(pcm_frame(0))
        codec.leaves.set()
        await eventually(lambda: worker.capacity is None)
        assert await stream.read() is not None
        stream.done_writing()
        assert await stream.read() is None


async def test_a_draining_worker_says_how_long_its_sessions_have_and_comes_back_as_new() -> None:
    codec, address = EchoCodec(), lasting_address()
    async with serving(codec, address=address) as listener, watched(address, retry_s=0.01) as worker:
        stream = await held_stream(worker)
        assert not worker.draining.is_set()
        codec.drain(1000.0)
        await worker.draining.wait()
        assert not worker.takes_sessions
        assert 900.0 < worker.grace_left_s <= 1000.0
        stream.cancel()
        await eventually(lambda: worker.capacity is None)
        await listener.server.stop(None)
        async with serving(EchoCodec(), address=address):
            await eventually(lambda: worker.takes_sessions)
            assert not worker.draining.is_set()
