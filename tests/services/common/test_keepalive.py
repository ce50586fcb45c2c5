"""A peer that is gone without a word: noticed by either end, whoever talks and whichever way the line is cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from moshi_cluster.services.common.rpc import KeepAlive, channel_options, server_options
from tests.services.in_process import PATIENCE_S, status_of

SOON = KeepAlive(silence_ms=100, answer_ms=1000)  # a busy machine answers late
PATIENT = KeepAlive(silence_ms=100, answer_ms=60_000)
LATER = KeepAlive(silence_ms=3_600_000, answer_ms=3_600_000)


class DeadLine:
    """A TCP proxy that can stop to forward, one way or both, without closing anything."""

    def __init__(self, port: int) -> None:
        self.cut: set[str] = set()
        self._port = port
        self._pumps: list[asyncio.Task[None]] = []
        self._ends: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)
            for end in self._ends:
                end.close()

    async def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends += [to_client, to_server]
        for way, source, sink in (("up", from_client, to_server), ("down", from_server, to_client)):
            self._pumps.append(asyncio.create_task(self._pump(way, source, sink)))

    async def _pump(self, way: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if way not in self.cut:
                    sink.write(data)


class Waiting:
    """A stream-stream rpc that says so when it is there and when it has been cancelled."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def call(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        try:
            await context.write(b"here")
            async for _ in requests:
                pass
        finally:
            self.over.set()


@asynccontextmanager
async def lines(server: KeepAlive, client: KeepAlive) -> AsyncIterator[tuple[DeadLine, Waiting, Any]]:
    """A call through a line that may die; who watches it is said by the two sets of times."""
    waiting = Waiting()
    listener = grpc.aio.server(options=server_options(1024, 8, server))
    methods = {"Call": grpc.stream_stream_rpc_method_handler(waiting.call)}
    listener.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", methods),))
    line = DeadLine(listener.add_insecure_port("127.0.0.1:0"))
    await listener.start()
    async with (
        line.listening() as target,
        grpc.aio.insecure_channel(target, channel_options(1024, client)) as channel,
    ):
        call = channel.stream_stream("/test.Test/Call")()
        assert await call.read() == b"here"
        yield line, waiting, call
    await listener.stop(None)


@pytest.mark.parametrize(("server", "client"), [(LATER, PATIENT), (PATIENT, LATER)], ids=["client", "server"])
async def test_that_both_are_silent_is_no_reason_to_give_up(server: KeepAlive, client: KeepAlive) -> None:
    async with lines(server, client) as (_, waiting, call):
        await asyncio.sleep(0.5)  # several pings of one of them
        assert not waiting.over.is_set() and not call.done()
        call.cancel()


@pytest.mark.parametrize("cut", [{"up"}, {"down"}, {"up", "down"}])
async def test_a_client_notices_that_its_server_is_gone(cut: set[str]) -> None:
    async with lines(LATER, SOON) as (line, _, call):
        await asyncio.sleep(0.5)  # several pings
        line.cut = cut
        async with asyncio.timeout(PATIENCE_S / 2):
            code, details = await status_of(call)
        assert code is grpc.StatusCode.UNAVAILABLE and "ping timeout" in details


@pytest.mark.parametrize("cut", [{"up"}, {"down"}, {"up", "down"}])
async def test_a_server_notices_that_its_client_is_gone(cut: set[str]) -> None:
    async with lines(SOON, LATER) as (line, waiting, call):
        await asyncio.sleep(0.5)
        line.cut = cut
        async with asyncio.timeout(PATIENCE_S / 2):
            await waiting.over.wait()
        call.cancel()


def test_a_dead_peer_is_noticed_within_28_s_and_a_network_may_stall_for_18() -> None:
    usual = KeepAlive()
    assert usual.silence_ms + usual.answer_ms == 28_000
    assert usual.answer_ms == 18_000


# --- clients that ping by themselves

USUAL = KeepAlive()
SCALE = 10


def times_of(silence_s: float) -> KeepAlive:
    return KeepAlive(silence_ms=round(1000 * silence_s), answer_ms=USUAL.answer_ms)


@pytest.mark.parametrize("every_s", [10, 20])
async def test_pings_of_phones_behind_address_translation_are_welcome(every_s: float) -> None:
    """At a tenth of all times. 10 s is the least that Go's clients can be told, 20 to 30 s what keeps a mobile line."""
    async with lines(times_of(USUAL.silence_ms / 1000 / SCALE), times_of(every_s / SCALE)) as (_, waiting, call):
        await asyncio.sleep(4.5)
        assert not waiting.over.is_set() and not call.done()
        call.cancel()


async def test_pings_every_second_on_an_idle_connection_are_too_many() -> None:
    async with lines(USUAL, times_of(1.0)) as (_, _, call):
        async with asyncio.timeout(PATIENCE_S / 2):
            code, details = await status_of(call)
        assert code is grpc.StatusCode.UNAVAILABLE and "Too many pings" in details


def test_the_pings_that_a_server_sends_and_takes_are_what_the_docs_say() -> None:
    options = dict(server_options(1024, 8))
    assert options["grpc.http2.min_ping_interval_without_data_ms"] == 5_000
    assert options["grpc.keepalive_time_ms"] == 10_000
    assert options["grpc.keepalive_permit_without_calls"] == 1
