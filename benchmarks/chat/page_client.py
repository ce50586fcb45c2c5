"""Page client: sends what the web page sends to /api/chat, without a browser; twenty fit on a laptop."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from urllib.parse import urlencode

import aiohttp

from benchmarks.chat.client_trace import ClientTrace
from moshi_cluster.audio.frame import FRAME_SAMPLES, MODEL_RATE_HZ
from moshi_cluster.audio.ogg import OpusStreamReader
from moshi_cluster.clients.cli.talk.ogg_opus import PACKET_SAMPLES, OggOpusEncoder
from moshi_cluster.clients.telephony.wire_formats import S16Samples

PACKET_S = PACKET_SAMPLES / MODEL_RATE_HZ
_HANDSHAKE, _AUDIO, _TEXT, _METADATA, _ERROR = 0, 1, 2, 4, 5
_LOST_AFTER_S = 10.0  # without any message, as the page has it; in the queue a position is told every 5 s
_REPLY_FRAMES = 0.5  # of a packet
_INITIAL = {
    "text_temperature": 0.7,
    "text_topk": 25,
    "audio_temperature": 0.8,
    "audio_topk": 250,
    "pad_mult": 0,
    "repetition_penalty": 1,
    "repetition_penalty_context": 64,
    "stats": "true",
}


def voice_messages(samples: S16Samples, frames: int) -> list[bytes]:
    """The caller's side of a conversation of `frames`, a message a packet: the voice over and over."""
    needed = frames * FRAME_SAMPLES
    looped = (samples * (needed // len(samples) + 1))[:needed]
    return [bytes([_AUDIO]) + page for page in OggOpusEncoder().encode(looped)]


class PageClient:
    """One conversation: connects, waits its turn, speaks in real time, hears the answer out, hangs up."""

    def __init__(self, name: str, url: str, voice: Sequence[bytes], patience_s: float) -> None:
        """url: of the page. patience_s: for its turn, and after its last word for the rest of the answer."""
        self.trace = ClientTrace(name, said_frames=len(voice) * PACKET_SAMPLES // FRAME_SAMPLES)
        self._url = url
        self._voice = voice
        self._patience_s = patience_s
        self._ready = asyncio.Event()
        self._answered = asyncio.Event()
        self._reader = OpusStreamReader()

    async def run(self, start_s: float) -> ClientTrace:
        """start_s: the run's beginning on the loop's clock."""
        clock = asyncio.get_running_loop().time
        trace = self.trace
        try:
            # Browsers name the page's origin with every WebSocket.
            async with aiohttp.ClientSession(headers={"Origin": self._url.rstrip("/")}) as session:
                trace.asked_s = clock() - start_s
                async with session.ws_connect(self._address()) as socket:
                    await self._converse(socket, start_s)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            trace.failure = trace.failure or str(error) or type(error).__name__
        return trace

    def _address(self) -> str:
        seeds = {name: random.randrange(1_000_001) for name in ("text_seed", "audio_seed")}
        return f"{self._url.rstrip('/')}/api/chat?{urlencode(_INITIAL | seeds)}"

    async def _converse(self, socket: aiohttp.ClientWebSocketResponse, start_s: float) -> None:
        listening = asyncio.create_task(self._listen(socket, start_s))
        try:
            await self._first(self._ready, listening)
            if self._ready.is_set():
                await self._speak(socket)
                await self._first(self._answered, listening)
        finally:
            await socket.close()
            await asyncio.gather(listening)

    async def _first(self, event: asyncio.Event, listening: asyncio.Task[None]) -> None:
        waiting = asyncio.create_task(event.wait())
        try:
            await asyncio.wait({waiting, listening}, timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    async def _speak(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        clock = asyncio.get_running_loop().time
        first_s = clock()
        for index, message in enumerate(self._voice):
            await asyncio.sleep(max(0.0, first_s + index * PACKET_S - clock()))
            await socket.send_bytes(message)

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse, start_s: float) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            try:
                message = await socket.receive(_LOST_AFTER_S)
            except TimeoutError:
                self.trace.failure = f"nothing came for {_LOST_AFTER_S:g} s"
                return
            except ConnectionError:  # reading answers pings
                self.trace.failure = "the connection broke"
                return
            if message.type is not aiohttp.WSMsgType.BINARY:
                return
            self._take(message.data[0], message.data[1:], clock() - start_s)

    def _take(self, kind: int, payload: bytes, now_s: float) -> None:
        trace = self.trace
        if kind == _HANDSHAKE:
            trace.ready_s = now_s
            self._ready.set()
        elif kind == _AUDIO:
            trace.heard_frames += _REPLY_FRAMES * len(self._reader.push(payload))
            if trace.heard_frames >= trace.said_frames:
                self._answered.set()
        elif kind == _TEXT:
            trace.text += payload.decode()
        elif kind == _ERROR:
            trace.failure = payload.decode()
        elif kind == _METADATA:
            self._note(json.loads(payload), now_s)

    def _note(self, metadata: dict[str, object], now_s: float) -> None:
        match metadata:
            case {"queue": {"position": int(position), "waiting": int(waiting)}}:
                self.trace.queue_positions.append((position, waiting))
                if self.trace.queued_s is None:
                    self.trace.queued_s = now_s
            case {"latency_ms": dict(latency_ms), "counters": dict(counters)}:
                self.trace.counters = counters
                if (turnaround := latency_ms.get("turnaround")) is not None:
                    self.trace.turnarounds_ms.append(turnaround)
