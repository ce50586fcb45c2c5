"""A client of /api/chat, for tests: its bytes are written out here, not taken from the product."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np

from moshi_cluster.audio.ogg import OpusStreamReader, OpusStreamWriter
from moshi_cluster.audio.opus import OpusDecoder, OpusEncoder
from moshi_cluster.audio.pcm import Samples
from tests.services.gateway.cluster import Cluster
from tests.services.in_process import PATIENCE_S

HTTP: dict[str, Any] = {"http": True, "http_port": 0, "host": "127.0.0.1", "web_dir": ""}
LOOPBACK = "?loopback=true"
STATS = "?stats=true"
HANDSHAKE, AUDIO, TEXT, CONTROL, METADATA, ERROR, PING = range(7)
TONE_HZ = 573


def voice(frames: int, packet_ms: int = 40) -> Iterator[bytes]:
    """Pages with a tone, a packet each, `frames` of 80 ms in all; the first piece begins with the headers."""
    encoder, writer = OpusEncoder(24_000, packet_ms), OpusStreamWriter()
    size = 24 * packet_ms
    tone = 0.3 * np.sin(np.arange(frames * 1920, dtype=np.float32) * (2 * np.pi * TONE_HZ / 24_000))
    for start in range(0, tone.size, size):
        yield writer.write(encoder.encode(tone[start : start + size].astype(np.float32)), size, 24_000)


def said(pages: bytes) -> bytes:
    return bytes([AUDIO]) + pages


@dataclass
class Chatter:
    """One connection. What comes back is kept in `heard`."""

    socket: aiohttp.ClientWebSocketResponse
    heard: list[tuple[int, bytes]] = field(default_factory=list)

    async def send(self, *messages: bytes) -> None:
        for message in messages:
            await self.socket.send_bytes(message)

    async def say(self, frames: int) -> None:
        await self.send(*map(said, voice(frames)))

    async def next(self) -> tuple[int, bytes]:
        """The next message. Raises EOFError when the server has closed."""
        async with asyncio.timeout(PATIENCE_S):
            message = await self.socket.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise EOFError(message)
        self.heard.append((message.data[0], message.data[1:]))
        return self.heard[-1]

    async def until(self, kind: int, key: str | None = None) -> Any:
        """Reads on to the next message of this kind, of metadata with this key; its payload, of metadata the value."""
        while True:
            found, payload = await self.next()
            if found == kind and key is None:
                return payload
            if found == kind and key in (metadata := json.loads(payload)):
                return metadata[key]

    async def ready(self) -> None:
        assert await self.until(HANDSHAKE) == b""

    async def pong(self) -> None:
        """Returns once the server has taken everything that was sent."""
        await self.send(bytes([PING]))
        assert await self.until(PING) == b""

    async def answered(self, frames: int) -> None:
        """Reads on until so many reply frames have come in all."""
        while len(self.packets) < 2 * frames:
            await self.next()

    async def end(self) -> tuple[int | None, str]:
        """Reads to the end: the close code, and the error before it."""
        try:
            while True:
                await self.next()
        except EOFError:
            return self.socket.close_code, "".join(payload.decode() for kind, payload in self.heard if kind == ERROR)

    def vanish(self) -> None:
        """As a network that goes away."""
        self.socket._writer.transport.abort()

    @property
    def packets(self) -> list[bytes]:
        """Opus packets of the reply."""
        return OpusStreamReader().push(b"".join(payload for kind, payload in self.heard if kind == AUDIO))

    @property
    def sound(self) -> Samples:
        """The reply at 48 kHz."""
        decoder = OpusDecoder()
        return np.concatenate([decoder.decode(packet) for packet in self.packets])

    @property
    def text(self) -> str:
        return "".join(payload.decode() for kind, payload in self.heard if kind == TEXT)

    @property
    def metadata(self) -> dict[str, Any]:
        """All metadata so far, later values over earlier ones."""
        return {k: v for kind, payload in self.heard if kind == METADATA for k, v in json.loads(payload).items()}


def coming_back(key: str) -> dict[str, Any]:
    """Options of a connection that goes on with a conversation."""
    return {"protocols": ("moshi-cluster", f"moshi-cluster.resume.{key}")}


@asynccontextmanager
async def chatting(all_of_it: Cluster, query: str = "", **options: Any) -> AsyncIterator[Chatter]:
    """A connection to the gateway's /api/chat; options: of aiohttp's ws_connect."""
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{all_of_it.service.http_port}/api/chat{query}"
        async with session.ws_connect(url, **options) as connection:
            yield Chatter(connection)
