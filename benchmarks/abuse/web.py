"""Floods over the HTTP port: by hand over sockets, since no client library would do it."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.abuse.flood import Client, Flood, Ports, Tally
from benchmarks.abuse.frames import CLOSE, CONTINUATION, PING, PONG, TEXT, frame, page

AUDIO, CONTROL, CHAT_PING = 1, 3, 6
"""Types of the messages of /api/chat."""

PIECES = {
    "pings": frame(b"", PING),
    "pongs": frame(b"12345678", PONG),
    "texts": frame(b"x", TEXT),
    "empty texts": frame(b"", TEXT),
    "unknown types": frame(b"\x99" * 40),
    "empty messages": frame(b""),
    "controls": frame(bytes([CONTROL, 0])),
    "the protocol's own pings": frame(bytes([CHAT_PING])),
    "empty pages": frame(bytes([AUDIO]) + page([], 7) * 10),
    "pages of empty packets": frame(bytes([AUDIO]) + page([b""] * 255, 7)),
    "packets that are no opus": frame(bytes([AUDIO]) + page([b"\xff\0"] * 100, 7)),
    "continuations": frame(b"", CONTINUATION, whole=False),
}
"""Frames that are sent over and over on one connection, by name."""

_SPEECH_S = 1.0
_PIECES_AT_ONCE = 100
_LARGEST_MESSAGE_BYTES = 500_000


class Socket:
    """A TCP connection to the HTTP port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Returns when there is room for more. Raises OSError when the gateway has closed."""
        self.writer.write(data)
        await self.writer.drain()

    async def upgrade(self, query: str) -> bool:
        """Asks for a conversation; whether this is a WebSocket now."""
        lines = [f"GET /api/chat?{query} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", ""]
        await self.send("\r\n".join(lines).encode())
        return (await self.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")

    async def close_code(self) -> int:
        """Reads on until the gateway ends the WebSocket. Raises EOFError when it just closes."""
        while True:
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack(">H", await self.reader.readexactly(2))
            payload = await self.reader.readexactly(size)
            if first & 0x0F == CLOSE:
                return int.from_bytes(payload[:2], "big")


@asynccontextmanager
async def connection(ports: Ports) -> AsyncIterator[Socket]:
    """A connection that is reset at the end, without a goodbye."""
    host, port = ports.web.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Socket(reader, writer)
    finally:
        writer.transport.abort()


def repeating(piece: bytes, before: bytes = b"", at_once: int = _PIECES_AT_ONCE) -> Client:
    """A client that sends `piece` as fast as it is taken, after `before`, until it is thrown out."""

    async def client(ports: Ports, tally: Tally) -> None:
        async with connection(ports) as socket:
            if not await socket.upgrade(f"loopback=true&token={ports.token}"):
                tally.ends["refused"] += 1
                return
            await socket.send(before)
            sending = asyncio.create_task(_send_on(socket, piece, at_once, tally))
            try:
                tally.ends[str(await socket.close_code())] += 1
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    return client


async def _send_on(socket: Socket, piece: bytes, at_once: int, tally: Tally) -> None:
    while True:
        await socket.send(piece * at_once)
        tally.sent += at_once
        await asyncio.sleep(0)


async def abort_openings(ports: Ports, tally: Tally) -> None:
    """Begins a conversation and is gone."""
    async with connection(ports) as socket:
        tally.sent += 1
        await socket.upgrade(f"token={ports.token}")
        tally.ends["gone"] += 1


async def send_nothing(ports: Ports, tally: Tally) -> None:
    """Connects, sends half a request, waits."""
    async with connection(ports) as socket:
        tally.sent += 1
        await socket.send(b"GET / HTTP/1.1\r\nHost:")
        await socket.reader.read()
        tally.ends["closed"] += 1


async def never_speak(ports: Ports, tally: Tally) -> None:
    """Takes a slot and says nothing."""
    async with connection(ports) as socket:
        tally.sent += 1
        if await socket.upgrade(f"token={ports.token}"):
            tally.ends[str(await socket.close_code())] += 1


async def come_again(ports: Ports, tally: Tally) -> None:
    """Takes a slot, or its place in the queue, goes after a second, and is back at once."""
    async with connection(ports) as socket:
        if await socket.upgrade(f"token={ports.token}"):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SPEECH_S):
                    tally.ends[str(await socket.close_code())] += 1
            tally.sent += 1


async def try_tokens(ports: Ports, tally: Tally) -> None:
    """Asks with a wrong token."""
    async with connection(ports) as socket:
        tally.sent += 1
        if await socket.upgrade("token=wrong"):
            tally.ends[str(await socket.close_code())] += 1
        else:
            tally.ends["refused"] += 1


async def send_nonsense(ports: Ports, tally: Tally) -> None:
    """Sends what is no HTTP."""
    async with connection(ports) as socket:
        tally.sent += 1
        await socket.send(b"\x16\x03\x01 no request\r\nno: colon\0\r\n\r\n")
        await socket.reader.read()
        tally.ends["closed"] += 1


_LONG = frame(bytes([AUDIO]) + page([], 7) * (_LARGEST_MESSAGE_BYTES // len(page([], 7))))

_BEFORE = {"continuations": frame(b"x", whole=False)}

WEB_FLOODS = {
    f"web-{name.replace(' ', '-')}": Flood(f"{name} on WebSockets", [repeating(piece, _BEFORE.get(name, b""))] * 8)
    for name, piece in PIECES.items()
} | {
    "web-long-messages": Flood("messages of 500 kB of empty pages", [repeating(_LONG, at_once=1)] * 8),
    "web-aborted-openings": Flood("conversations begun and broken off at once", [abort_openings] * 16),
    "web-silent-connections": Flood("connections with half a request", [send_nothing] * 300),
    "web-silent-calls": Flood("conversations in which nobody speaks", [never_speak] * 12),
    "web-wrong-tokens": Flood("wrong tokens", [try_tokens] * 16),
    "web-nonsense": Flood("bytes that are no HTTP", [send_nonsense] * 16),
}
