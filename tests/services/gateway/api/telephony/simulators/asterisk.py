"""Asterisk, simulated: a channel of chan_websocket and a connection of AudioSocket.

After channels/chan_websocket.c, res/res_audiosocket.c and apps/app_audiosocket.c of Asterisk 22.9.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import aiohttp
import numpy as np

from moshi_cluster.audio import g711, pcm
from moshi_cluster.audio.pcm import Samples
from tests.services.gateway.api.telephony.simulators.asterisk_queue import AsteriskQueue
from tests.services.gateway.api.telephony.simulators.phone import Gateway, Phone
from tests.services.gateway.api.telephony.simulators.websocket_phone import WebSocketPhone

_FORMATS = {
    "ulaw": (8_000, g711.encode_mulaw, g711.decode_mulaw),
    "alaw": (8_000, g711.encode_alaw, g711.decode_alaw),
    "slin": (8_000, pcm.encode_s16le, pcm.decode_s16le),
    "slin16": (16_000, pcm.encode_s16le, pcm.decode_s16le),
    "slin24": (24_000, pcm.encode_s16le, pcm.decode_s16le),
}


class AsteriskPhone(WebSocketPhone):
    """A channel dialled as WebSocket/moshi/c(FORMAT)nf(json), or f(plain-text)."""

    wire = "asterisk"
    protocols = ("media",)

    def __init__(self, audio_format: str = "slin24", is_json: bool = True) -> None:
        super().__init__()
        self.rate_hz, self._encode, self._decode = _FORMATS[audio_format]
        self._format = audio_format
        self._is_json = is_json
        self.queue = AsteriskQueue(len(self._encode(np.zeros(self.packet_samples, np.float32))), is_json)
        self.ticks = asyncio.Event()  # cleared: the far side of Asterisk takes nothing
        self.ticks.set()
        self._playing: asyncio.Task[None] | None = None

    async def dial(self, gateway: Gateway, parameters: Mapping[str, str]) -> None:
        """JSON carries the parameters as variables of the channel, plain text in the address."""
        await self.connect(gateway, {} if self._is_json else parameters)
        await self.start(parameters)
        self._playing = asyncio.create_task(self._play())

    async def start(self, parameters: Mapping[str, str]) -> None:
        """Says how the call sounds."""
        fields: dict[str, Any] = {"connection_id": "moshi", "channel": "WebSocket/moshi/0x7f03c80018f0"}
        fields |= {"channel_id": "1795735449.20", "format": self._format}
        fields |= {"optimal_frame_size": self.queue.frame_bytes, "ptime": self.packet_ms}
        if not self._is_json:
            await self.send(" ".join(["MEDIA_START", *(f"{key}:{value}" for key, value in fields.items())]))
            return
        fields["channel_variables"] = {f"__MOSHI_{name.upper()}": value for name, value in parameters.items()}
        await self.send(json.dumps({"event": "MEDIA_START", **fields}))

    async def say(self, samples: Samples) -> None:
        await self.send(self._encode(samples))

    async def press(self, digit: str) -> None:
        fields = {"event": "DTMF_END", "channel_id": "1795735449.20", "digit": digit}
        line = f"DTMF_END digit:{digit} channel_id:1795735449.20"
        await self.send(json.dumps(fields) if self._is_json else line)

    async def hang_up(self) -> None:
        await self.socket.close(code=1000)

    async def close(self) -> None:
        if self._playing is not None:
            self._playing.cancel()
            await asyncio.wait((self._playing,))
            if not self._playing.cancelled():
                self._playing.result()
        await super().close()

    async def take(self, message: aiohttp.WSMessage) -> None:
        self.queue.take(message.data)
        self.clears = self.queue.commands.count("FLUSH_MEDIA")
        await self._say_events()
        if self.queue.is_hung_up:
            await self.socket.close(code=1000)

    async def _play(self) -> None:
        """A frame per tick, and silence where none waits; its clock is right, however late it is woken."""
        begin_s, ticks = time.monotonic(), 0
        while not self.over.is_set():
            ticks += 1
            await asyncio.sleep(begin_s + ticks * self.packet_ms / 1000 - time.monotonic())
            await self.ticks.wait()
            if (frame := self.queue.tick()) is not None:
                self.hear(self._decode(frame))
            await self._say_events()

    async def _say_events(self) -> None:
        while self.queue.events:
            await self.send(self.queue.events.pop(0))


class AudioSocketPhone(Phone):
    """A connection of the application AudioSocket, or of its channel driver for other rates."""

    wire = "audiosocket"

    def __init__(self, kind: int = 0x10, name: uuid.UUID | None = None) -> None:
        super().__init__()
        self.rate_hz = {0x10: 8_000, 0x12: 16_000, 0x13: 24_000, 0x16: 48_000}[kind]
        self._kind = kind
        self._name = name or uuid.uuid4()
        self._reading: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter

    async def dial(self, gateway: Gateway, parameters: Mapping[str, str]) -> None:
        """AudioSocket carries no parameters: the gateway's profiles have to."""
        reader, self._writer = await asyncio.open_connection("127.0.0.1", gateway.ports["audiosocket"])
        self._reading = asyncio.create_task(self._read(reader))
        await self.tell(0x01, self._name.bytes)

    async def tell(self, kind: int, payload: bytes) -> None:
        """Sends a message of any kind."""
        await self.send(bytes([kind]) + len(payload).to_bytes(2, "big") + payload)

    async def transmit(self, message: str | bytes) -> None:
        assert isinstance(message, bytes), "a stream has no texts"
        if self._writer.is_closing():
            return
        with contextlib.suppress(ConnectionError):
            self._writer.write(message)
            await self._writer.drain()

    async def say(self, samples: Samples) -> None:
        await self.tell(self._kind, pcm.encode_s16le(samples))

    async def press(self, digit: str) -> None:
        await self.tell(0x03, digit.encode())

    async def hang_up(self) -> None:
        """As Asterisk does: it closes, and says nothing."""
        self._writer.close()

    async def close(self) -> None:
        self._writer.transport.abort()
        if self._reading is not None:
            await self._reading

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Voice of this call's kind and hang-up are all that Asterisk takes."""
        try:
            while header := await _exactly(reader, 3):
                kind, length = header[0], int.from_bytes(header[1:], "big")
                if not self.is_strict:
                    await _exactly(reader, length)
                    continue
                if kind == 0x00:
                    self._writer.close()
                    return
                assert kind == self._kind, f"Asterisk ends a call for a message of kind {kind:#x}"
                assert 0 < length <= 1_400, "Asterisk ends a call for empty voice, or whose rest is 5 ms late"
                self.hear(pcm.decode_s16le(await _exactly(reader, length)))
        finally:
            self.over.set()


async def _exactly(reader: asyncio.StreamReader, count: int) -> bytes:
    """So many bytes; none at the end, whatever way it came."""
    try:
        return await reader.readexactly(count)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
