"""Peers of the stream multiplexer that do not read, or are gone without a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from moshi_cluster.services.common.errors import LimitReached, NoFreeSlot
from moshi_cluster.services.common.mux.buffers import Outbox
from moshi_cluster.services.common.mux.client import MuxClient, MuxStream, StreamEnded
from moshi_cluster.services.common.mux.server import MuxServerConnection, MuxServicer
from moshi_cluster.services.common.session_stream import Method, SessionStream
from moshi_cluster.v1 import codec_pb2, trunk_pb2, trunk_pb2_grpc
from tests.services.fake_workers import code_frame
from tests.services.in_process import PATIENCE_S, eventually, few_turns, status_of

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

ECHO = "/test.Test/Echo"


async def echo(stream: SessionStream[Any, Any]) -> None:
    await stream.held()
    async for request in stream.requests:
        await stream.write(request)


async def full(stream: SessionStream[Any, Any]) -> None:
    raise NoFreeSlot("all slots are in use")


def methods(handler: Any) -> dict[str, Method[Any, Any]]:
    return {ECHO: Method(handler, codec_pb2.CodeFrame)}


def opens(first: int, count: int) -> trunk_pb2.TrunkBundle:
    items = [trunk_pb2.TrunkItem(stream=number, open=ECHO) for number in range(first, first + count)]
    return trunk_pb2.TrunkBundle(items=items)


class Unread:
    """A gateway that opens streams, one bundle after the other, and reads nothing."""

    def __init__(self, bundle_items: int) -> None:
        self.sent = 0
        self._bundle_items = bundle_items

    async def bundles(self) -> AsyncIterator[trunk_pb2.TrunkBundle]:
        while True:
            await asyncio.sleep(0)
            yield opens(self.sent, self._bundle_items)
            self.sent += self._bundle_items

    async def write(self, bundle: trunk_pb2.TrunkBundle) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("handler", [full, echo])
@pytest.mark.parametrize("bundle_items", [1, 10_000])
async def test_what_a_gateway_does_not_read_is_bounded(handler: Any, bundle_items: int) -> None:
    outbox, peer = Outbox(items_max=50, stalled_s=0.2), Unread(bundle_items)
    connection = MuxServerConnection(methods(handler), asyncio.Event(), streams_max=20, outbox=outbox)
    most_waiting = 0

    async def look() -> None:
        nonlocal most_waiting
        while True:
            most_waiting = max(most_waiting, len(outbox))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    with pytest.raises(LimitReached, match="not read"):
        await connection.run(peer.bundles(), peer.write)
    looking.cancel()
    assert 50 <= most_waiting <= 50 + 20, "the limit, and a status for each stream that runs"
    assert peer.sent <= max(200, bundle_items)


class Server:
    """A server with nothing but the multiplexer."""

    def __init__(self, servicer: trunk_pb2_grpc.TrunkServicer) -> None:
        self._servicer = servicer

    async def __aenter__(self) -> str:
        self._server = grpc.aio.server()
        trunk_pb2_grpc.add_TrunkServicer_to_server(self._servicer, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)


async def test_a_gateway_that_does_not_read_loses_its_streams_and_finds_out_when_it_does() -> None:
    left = asyncio.Event()

    async def talk(stream: SessionStream[Any, Any]) -> None:
        try:
            while True:
                await stream.write(codec_pb2.PcmFrame(pcm_f32le=bytes(64 * 1024)))
        finally:
            left.set()

    servicer = MuxServicer(methods(talk), asyncio.Event(), make_outbox=lambda: Outbox(items_max=5, stalled_s=0.2))
    async with Server(servicer) as target, grpc.aio.insecure_channel(target) as channel, asyncio.timeout(PATIENCE_S):
        call = trunk_pb2_grpc.TrunkStub(channel).Carry()
        await call.write(opens(1, 1))
        await left.wait()
        assert await status_of(call) == (grpc.StatusCode.DEADLINE_EXCEEDED, "what the worker sends is not read")


class Deaf(trunk_pb2_grpc.TrunkServicer):
    """A worker that holds the connection and never reads."""

    async def Carry(self, request_iterator: Any, context: grpc.aio.ServicerContext) -> None:
        await asyncio.Event().wait()


async def until_stuck(stream: MuxStream[Any]) -> None:
    """Writes until the stream has ended."""
    while True:
        await stream.write(code_frame(0))


async def test_a_worker_that_takes_nothing_is_lost() -> None:
    async with Server(Deaf()) as target, grpc.aio.insecure_channel(target) as channel:
        mux = MuxClient(channel, "codec", target, make_outbox=lambda: Outbox(stalled_s=0.2))
        stream = mux.open(ECHO, codec_pb2.CodeFrame)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(StreamEnded, match="the codec worker is lost") as ended:
                await until_stuck(stream)
        assert ended.value.code is grpc.StatusCode.UNAVAILABLE
        await mux.close()


async def test_a_lost_worker_ends_every_stream_at_once_readers_and_writers_alike(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Server(Deaf()) as target, grpc.aio.insecure_channel(target) as channel:
        mux = MuxClient(channel, "codec", target)
        streams = [mux.open(ECHO, codec_pb2.CodeFrame) for _ in range(3)]
        waiting = [
            asyncio.create_task(streams[0].read()),
            asyncio.create_task(streams[1].until_held()),
            asyncio.create_task(until_stuck(streams[2])),
        ]
        await eventually(lambda: mux._connection is not None and mux._connection._outbox.is_full)
        assert mux.streams == 3
        mux.lose("no report")
        await few_turns()
        for each in waiting:
            assert each.done()
            assert isinstance(each.exception(), StreamEnded)
        assert mux.streams == 0
        assert f"streams lost address={target} streams=3 why=no report" in caplog.text
        await mux.close()
