"""Connection to /api/chat: the client's messages to the call, the call's items to the client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from aiohttp import WebSocketError, WSCloseCode, WSMsgType, web

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.ogg import OpusStreamReader, OpusStreamWriter
from moshi_cluster.services.common.deadlines import set_within
from moshi_cluster.services.common.errors import CallerLost, InvalidInput
from moshi_cluster.services.gateway.admission.rate_limits import message_quota
from moshi_cluster.services.gateway.api.websocket import messages, metadata
from moshi_cluster.services.gateway.api.websocket.messages import Kind
from moshi_cluster.services.gateway.api.websocket.query import ChatRequest
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.events import CallEvent, Outgoing, Started, TextPiece

_STATS_INTERVAL_S = 1.0


class WebSocketConnection:
    """Tolerant of everything Moshi's own clients do: audio before the handshake, headers again, pages cut anywhere,
    unknown types, text messages."""

    def __init__(
        self, websocket: web.WebSocketResponse, asked: ChatRequest, instance_name: str, packets_per_s: float
    ) -> None:
        self.asked = asked
        self.on_call: Callable[[Call], str | None] = lambda call: None
        """Told of the call once it is up; returns the key to resume it with."""
        self.cut_short = False
        self._websocket = websocket
        self._instance_name = instance_name
        self._quota = message_quota(packets_per_s, time.monotonic())
        self._voice = OpusStreamReader()
        self._reply = OpusStreamWriter()
        self._call: Call | None = None
        self._closed = asyncio.Event()

    # --- from the client

    async def receive(self) -> None:
        """Takes messages until the client closes.

        Raises CallerLost when they do so before the call is up or without a word, OverQuota, InvalidInput.
        """
        async for message in self._websocket:
            self._quota.take(time.monotonic())
            if message.type is WSMsgType.BINARY and message.data:
                await self._take(message.data)
            elif message.type is WSMsgType.ERROR and isinstance(message.data, WebSocketError):
                raise InvalidInput("message", str(message.data))  # already closed with its code
        self._closed.set()
        if self._call is None or self._websocket.close_code == WSCloseCode.ABNORMAL_CLOSURE:
            raise CallerLost("the client is gone")

    async def listen(self, call: Call) -> None:
        """Feeds the call what `receive` takes until the client closes, and tells the client how it goes."""
        self._call = call
        if (key := self.on_call(call)) is not None:
            await self.notify(metadata.resume(key))
        while not await set_within(self._closed, _STATS_INTERVAL_S if self.asked.stats else None):
            await self.notify(metadata.stats(call))
        call.hang_up()

    async def _take(self, message: bytes) -> None:
        if self._call is not None:
            self._call.heard()
        if message[0] == Kind.AUDIO:
            self._hear(message[1:])
        elif message[0] == Kind.PING:
            await self._send(messages.PING)

    def _hear(self, pages: bytes) -> None:
        for packet in self._voice.push(pages):
            self._quota.take(time.monotonic())
            if self._call is not None:
                with contextlib.suppress(InvalidInput):  # no Opus: the next packet may be
                    self._call.feed(packet)

    # --- to the client

    async def send(self, item: Outgoing) -> None:
        """Sends what leaves the call."""
        if isinstance(item, ReplyPacket):
            await self._send(messages.audio(self._reply.write(item.data, item.samples, MODEL_RATE_HZ)))
        elif isinstance(item, TextPiece):
            await self._send(messages.text(item.piece))
        elif isinstance(item, CallEvent):
            await self.notify(metadata.event(item))
        elif isinstance(item, Started):
            await self.notify(metadata.in_use(item, self.asked, self._instance_name))
            await self._send(messages.HANDSHAKE)
        else:
            self.cut_short = item.cut_short

    async def notify_position(self, position: int, waiting: int) -> None:
        """Tells the client their position in the admission queue."""
        await self.notify(metadata.queue(position, waiting))

    async def notify(self, what: metadata.Metadata) -> None:
        """Sends metadata."""
        await self._send(messages.metadata(what))

    async def _send(self, message: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # `receive` learns of it too, and says how it ended
            if not self._websocket.closed:
                await self._websocket.send_bytes(message)
