"""Clients that send more than anybody may: by hand, frame by frame, beside others who talk."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.abuse.frames import BINARY, CLOSE, PING, PONG, frame, page
from benchmarks.abuse.web import PIECES
from tests.services.gateway.api.http.test_connection import Wire, wire
from tests.services.gateway.api.websocket.chatter import AUDIO, ERROR, HTTP, LOOPBACK, chatting
from tests.services.gateway.api.websocket.pages import opus_packets, voice_pages
from tests.services.gateway.cluster import Cluster, cluster
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

LIMITS = HTTP | {"max_messages_per_s": 100.0}


@asynccontextmanager
async def upgraded(all_of_it: Cluster, query: str = LOOPBACK) -> AsyncIterator[Wire]:
    async with wire(all_of_it) as client:
        await client.upgrade(query)
        yield client


async def frames(client: Wire) -> AsyncIterator[tuple[int, bytes]]:
    """What the server sends, to its end."""
    try:
        while True:
            first, size = await client.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack(">H", await client.reader.readexactly(2))
            yield first & 0x0F, await client.reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return


async def closed_with(client: Wire) -> tuple[int, str]:
    """The close code, and the error before it."""
    error = ""
    async for opcode, payload in frames(client):
        if opcode == BINARY and payload[0] == ERROR:
            error = payload[1:].decode()
        if opcode == CLOSE:
            return int.from_bytes(payload[:2], "big"), error
    return 1006, error


@pytest.mark.parametrize(("name", "piece"), PIECES.items(), ids=PIECES)
async def test_a_flood_is_ended_whatever_it_is_made_of_and_others_talk_on(name: str, piece: bytes) -> None:
    async with cluster(**LIMITS) as all_of_it, chatting(all_of_it, LOOPBACK) as neighbour:
        await neighbour.ready()
        async with upgraded(all_of_it) as client:
            if name == "continuations":
                await client.send(frame(b"x", whole=False))
            flooding = asyncio.create_task(flood(client, piece))
            code, error = await closed_with(client)
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
            assert (code, error) == (1013, "more messages than one call may send")
            await neighbour.say(3)
            await neighbour.answered(3)
        await eventually(lambda: all_of_it.sample("moshi_gateway_http_connections") == 1)


async def flood(client: Wire, piece: bytes) -> None:
    while True:
        await client.send(piece * 100)
        await asyncio.sleep(0)


async def test_a_long_message_of_nothing_is_read_a_page_at_a_time() -> None:
    """Half a megabyte, of which a page costs as much as a message."""
    async with cluster(**LIMITS) as all_of_it, upgraded(all_of_it) as client:
        await client.send(frame(bytes([AUDIO]) + page([], 7) * 19_000))
        assert await closed_with(client) == (1013, "more messages than one call may send")


async def test_a_network_that_stalls_and_then_delivers_is_no_flood() -> None:
    """Of 200 messages that come at once 110 are those of any two seconds, the rest the stall has allowed."""
    async with cluster(**HTTP | {"max_messages_per_s": 55.0}) as all_of_it, chatting(all_of_it, LOOPBACK) as chatter:
        await chatter.ready()
        await asyncio.sleep(2.0)
        pages = list(voice_pages(opus_packets(4.0), 20))
        await chatter.send(*(bytes([AUDIO]) + page for page in pages))
        await chatter.answered(50)


# --- clients that do not read


async def test_after_a_stall_a_client_hears_voice_of_the_last_two_seconds_and_no_more() -> None:
    """It answers a ping, says a lot, reads nothing of the answers, and then reads them all."""
    async with cluster(**HTTP | {"reply_backlog_ms": 2000}) as all_of_it, upgraded(all_of_it) as client:
        incoming = frames(client)
        await client.send(frame(await next_of(incoming, PING), PONG))
        for message in voice_pages(opus_packets(20.0), 20):
            await client.send(frame(bytes([AUDIO]) + message))

        def of_kind(kind: str) -> float:
            return all_of_it.sample("moshi_gateway_frames_total", kind=kind)

        await eventually(lambda: of_kind("in") == 250)
        await eventually(lambda: of_kind("reply_dropped") >= 224)
        reading = asyncio.create_task(voice_packets(client, incoming))
        await eventually(lambda: of_kind("reply_dropped") + of_kind("out") == 250)
        await client.send(frame(struct.pack(">H", 1000), CLOSE))
        assert 1900 <= await reading * 40 <= 2080


async def voice_packets(client: Wire, incoming: AsyncIterator[tuple[int, bytes]]) -> int:
    """How many packets come until the server closes; answers its pings."""
    packets = 0
    async for opcode, payload in incoming:
        packets += opcode == BINARY and payload[:1] == bytes([AUDIO])
        if opcode == PING:
            await client.send(frame(payload, PONG))
    return packets


async def next_of(incoming: AsyncIterator[tuple[int, bytes]], wanted: int) -> bytes:
    async for opcode, payload in incoming:
        if opcode == wanted:
            return payload
    raise EOFError
