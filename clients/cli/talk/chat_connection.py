"""A conversation over /api/chat, as browsers hold it (docs/websocket.md): Ogg Opus in a WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.clients.cli.talk.address import chat_address, shown
from moshi_cluster.clients.cli.talk.connection import (
    CallOptions,
    Heard,
    Notice,
    QueuePosition,
    Ready,
    Stats,
    Voice,
    Words,
)
from moshi_cluster.clients.cli.talk.ogg_opus import OggOpusDecoder, OggOpusEncoder
from moshi_cluster.clients.telephony.errors import CallError, CallLost
from moshi_cluster.clients.telephony.playback import silence
from moshi_cluster.clients.telephony.resuming import Resume, resumed_words
from moshi_cluster.clients.telephony.wire_formats import S16Samples

_PROTOCOL = "moshi-cluster"
_LOST_CODES = frozenset((1001, 1005, 1006, 1011, 1012, 1013))  # of which another connection may go on
_HANDSHAKE, _AUDIO, _TEXT, _METADATA, _ERROR = 0, 1, 2, 4, 5
_CONNECT_TIMEOUT_S = 10.0
_OPEN_TIMEOUT_S = 30.0  # without any message, before the handshake
_LOST_AFTER_S = 10.0  # without any message, after it
_CLOSE_TIMEOUT_S = 2.0
_HEARTBEAT_S = 20.0


@asynccontextmanager
async def chat_connection(url: str, options: CallOptions) -> AsyncIterator[ChatConnection]:
    """A connection to the gateway whose page is at this URL; leaving closes it. Raises CallError, BadInput."""
    address, context = chat_address(url, options), options.access.ssl_context()
    async with aiohttp.ClientSession() as session:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                socket = await session.ws_connect(
                    address.url,
                    headers=address.headers,
                    ssl=context,
                    heartbeat=_HEARTBEAT_S,
                    protocols=_protocols(options.resume),
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_TIMEOUT_S),
                )
        except (aiohttp.ClientError, UnicodeError, TimeoutError) as error:
            raise CallLost(f"no gateway answers at {shown(address.url)}: {_reason(error)}") from error
        async with socket:
            yield ChatConnection(socket, options.resume)


class ChatConnection:
    """A conversation over one WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, earlier: Resume | None = None) -> None:
        """earlier: the conversation that it goes on with."""
        self._socket = socket
        self._earlier_frames = 0 if earlier is None else earlier.heard_frames
        self._encoder, self._decoder = OggOpusEncoder(), OggOpusDecoder()
        self._said_samples = 0
        self._closing = False
        self._ready = False
        self._session_id = ""
        self._key = ""
        self._remembered_frames = 0

    @property
    def resume(self) -> Resume | None:
        """See Connection."""
        frames = self._remembered_frames + self._decoder.samples // FRAME_SAMPLES
        return Resume(self._key, frames) if self._key else None

    async def say(self, samples: S16Samples) -> None:
        """See Connection."""
        self._said_samples += len(samples)
        await self._send(self._encoder.encode(samples))

    async def hang_up(self) -> None:
        """See Connection. The protocol knows no half-closing: `hear` closes once every frame is answered."""
        await self.say(silence(-self._said_samples % FRAME_SAMPLES))  # or the gateway waits for the frame's rest
        self._closing = True
        if self._is_answered():
            await self._socket.close()

    async def hear(self) -> AsyncGenerator[Heard, None]:
        """See Connection."""
        error = ""
        while (message := await self._read()) is not None:
            kind, payload = message[0], message[1:]
            if kind == _ERROR:
                error = payload.decode(errors="replace")
            for heard in self._heard(kind, payload):
                yield heard
            if self._closing and self._is_answered():
                await self._socket.close()
        if not self._closing:
            why = CallLost if self._socket.close_code in _LOST_CODES else CallError
            raise why(error or f"the gateway closed the connection (code {self._socket.close_code})")

    def _heard(self, kind: int, payload: bytes) -> list[Heard]:
        if kind == _AUDIO:
            return [Voice(self._decoder.decode(payload))]
        if kind == _TEXT:
            return [Words(payload.decode(errors="replace"))]
        if kind == _METADATA:
            return self._metadata(payload)
        if kind == _HANDSHAKE and not self._ready:
            self._ready = True
            return [Ready(self._session_id)]
        return []

    def _metadata(self, payload: bytes) -> list[Heard]:
        try:
            found = json.loads(payload)
            self._session_id = str(found.get("session_id", self._session_id))
            self._key = str(found.get("resume", self._key))
            self._remembered_frames = int(found.get("remembered_frames", self._remembered_frames))
            return parse_metadata(found, self._earlier_frames)
        except (ValueError, TypeError, AttributeError, KeyError):
            return []  # metadata of a kind that we do not know

    def _is_answered(self) -> bool:
        """Whether as much came back as was said. For what it had to drop the gateway makes up with what it fills in."""
        return self._decoder.samples >= self._said_samples

    async def _send(self, pages: list[bytes]) -> None:
        for page in pages:
            if not self._socket.closed and not self._closing:
                try:
                    async with asyncio.timeout(_LOST_AFTER_S):
                        await self._socket.send_bytes(bytes([_AUDIO]) + page)
                except ConnectionError:
                    return  # reading says why
                except TimeoutError as error:
                    raise CallLost(f"the gateway took nothing for {_LOST_AFTER_S:g} s") from error

    async def _read(self) -> bytes | None:
        """The next message, None when the connection has closed."""
        timeout_s = _LOST_AFTER_S if self._ready else _OPEN_TIMEOUT_S
        try:
            while (message := await self._socket.receive(timeout_s)).type is not aiohttp.WSMsgType.BINARY or not (
                message.data
            ):
                if message.type not in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
                    return None
        except TimeoutError as error:
            raise CallLost(f"the gateway was silent for {timeout_s:g} s") from error
        except ConnectionError as error:  # reading answers pings
            if self._closing:
                return None
            raise CallLost("the connection broke") from error
        return bytes(message.data)


def parse_metadata(found: dict[str, Any], heard_frames: int = 0) -> list[Heard]:
    """What a metadata message says: where the caller stands, statistics, events.

    heard_frames: of the conversation that it may go on with.
    """
    heard: list[Heard] = []
    if "queue" in found:
        heard.append(QueuePosition(int(found["queue"]["position"]), int(found["queue"]["waiting"])))
    if "latency_ms" in found or "counters" in found:
        heard.append(Stats(dict(found.get("latency_ms", {})), dict(found.get("counters", {}))))
    if "resumed" in found:
        frames = int(found.get("remembered_frames", 0))
        goes_on = resumed_words(frames, max(0, heard_frames - frames))
        heard.append(Notice(goes_on if found["resumed"] else "a new conversation: the lost one is gone"))
    if "event" in found:
        kind = str(found["event"]["kind"]).replace("_", " ")
        heard.append(Notice(" ".join(filter(None, [kind, str(found["event"].get("detail", ""))]))))
    return heard


def _protocols(resume: Resume | None) -> tuple[str, ...]:
    """The key belongs into a header, not into the address."""
    return (_PROTOCOL, f"{_PROTOCOL}.resume.{resume.token}") if resume is not None else ()


def _reason(error: Exception) -> str:
    """Why there is no WebSocket. An answer with a status, and an address that is none, would name all of it."""
    if isinstance(error, aiohttp.InvalidURL | UnicodeError):
        return "no such host can be"
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"status {error.status} instead of a WebSocket"
    return str(error) or f"silent for {_CONNECT_TIMEOUT_S:g} s"
