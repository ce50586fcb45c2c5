"""Connection to /api/chat: the client's messages to the call, the call's items to the client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

from aiohttp import WebSocketError, WSMessage, WSMsgType, web

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.ogg import OpusStreamWriter
from moshi_cluster.services.common.deadlines import set_within
from moshi_cluster.services.common.errors import CallerLost, InvalidInput, LimitReached
from moshi_cluster.services.gateway.admission.loop_budget import CallBudget, LoopShare
from moshi_cluster.services.gateway.admission.rate_limits import message_quota
from moshi_cluster.services.gateway.api.acknowledgements import Acknowledgements
from moshi_cluster.services.gateway.api.websocket import messages, metadata
from moshi_cluster.services.gateway.api.websocket.incoming_voice import IncomingVoice
from moshi_cluster.services.gateway.api.websocket.messages import Kind
from moshi_cluster.services.gateway.api.websocket.query import ChatRequest
from moshi_cluster.services.gateway.api.websocket_entry import is_goodbye
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.events import CallEvent, EventKind, Outgoing, Started, TextPiece
from moshi_cluster.services.gateway.metrics import GatewayMetrics, Unheard
from moshi_cluster.services.gateway.settings import GatewaySettings

_STATS_INTERVAL_S = 1.0
_MOST_ANSWERS = 8
_KNOWN_KINDS = frozenset(Kind)
_ENDS = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED)

_log = logging.getLogger(__name__)


class WebSocketConnection:
    """Tolerant of everything Moshi's own clients do: audio before the handshake, headers again, pages cut anywhere,
    unknown types, text messages."""

    def __init__(
        self,
        websocket: web.WebSocketResponse,
        asked: ChatRequest,
        settings: GatewaySettings,
        metrics: GatewayMetrics,
        budget: CallBudget,
    ) -> None:
        self.asked = asked
        self.cut_short = False
        self._websocket = websocket
        self._settings = settings
        self._metrics = metrics
        self._quota = message_quota(settings.max_messages_per_s, time.monotonic())
        self._share = LoopShare(budget)
        self._voice = IncomingVoice(self._quota, self._share, self._unheard)
        self._reply = OpusStreamWriter()
        self._acknowledgements = Acknowledgements(MODEL_RATE_HZ, asked.spec.on_its_way_ms / 1000)
        self._answers: asyncio.Queue[tuple[bytes, WSMsgType]] = asyncio.Queue(_MOST_ANSWERS)
        self._spoke = asyncio.Event()
        self._closed = asyncio.Event()

    # --- from the client

    async def receive(self) -> None:
        """Takes messages until the client says goodbye.

        Raises CallerLost when they do so before the call is up, or end without it; OverQuota, InvalidInput.
        """
        answering = asyncio.create_task(self._answer())
        try:
            while (message := await self._websocket.receive()).type not in _ENDS:
                self._share.begin()
                self._quota.take(time.monotonic())
                await self._take(message)
                await self._share.give_way()
        finally:
            self._acknowledgements.close()
            answering.cancel()
            await asyncio.wait((answering,))
        self._closed.set()
        if self._voice.call is None or not _is_goodbye(message):
            raise CallerLost("the client is gone")

    async def listen(self, call: Call) -> None:
        """Feeds the call what `receive` takes until the client closes, and tells the client how it goes.

        Raises LimitReached for a client that never spoke.
        """
        self._voice.call = call
        async with asyncio.TaskGroup() as tasks:
            beside = [tasks.create_task(self._expect_voice()), tasks.create_task(self._tell_stats(call))]
            await self._closed.wait()
            for task in beside:
                task.cancel()
        call.hang_up()

    async def _take(self, message: WSMessage) -> None:
        data: Any = message.data
        if message.type is WSMsgType.BINARY:
            await self._take_binary(data)
        elif message.type is WSMsgType.TEXT:
            self._voice.nothing(data.encode())
        elif message.type is WSMsgType.PING:
            self._answer_soon(data, WSMsgType.PONG)
        elif message.type is WSMsgType.PONG:
            self._acknowledgements.pong(data)
        elif message.type is WSMsgType.ERROR and isinstance(data, WebSocketError):
            raise InvalidInput("message", "is too large, or no message of a WebSocket")  # already closed with its code

    async def _take_binary(self, message: bytes) -> None:
        if self._voice.call is not None:
            self._voice.call.heard()
        kind = message[0] if message else None
        if kind == Kind.AUDIO:
            if await self._voice.pages(message[1:]):
                self._spoke.set()
        elif kind == Kind.PING:
            self._answer_soon(messages.PING, WSMsgType.BINARY)
        elif kind not in _KNOWN_KINDS:
            self._voice.nothing(message)

    def _unheard(self, reason: Unheard, sentence: str) -> None:
        self._metrics.unheard(reason)
        _log.warning("a client is not heard: %s", sentence)
        self._answer_soon(messages.error(sentence), WSMsgType.BINARY)

    def _answer_soon(self, data: bytes, kind: WSMsgType) -> None:
        """Answers what was received; a client that reads no answers gets few."""
        with contextlib.suppress(asyncio.QueueFull):
            self._answers.put_nowait((data, kind))

    async def _answer(self) -> None:
        """Apart from `receive`: a client that reads nothing is still heard."""
        while True:
            await self._send(*await self._answers.get())

    async def _expect_voice(self) -> None:
        timeout_s = self._settings.first_voice_timeout_s
        if not await set_within(self._spoke, timeout_s):
            raise LimitReached("no voice came", limit_s=timeout_s)

    async def _tell_stats(self, call: Call) -> None:
        while not await set_within(self._closed, _STATS_INTERVAL_S if self.asked.stats else None):
            await self.notify(metadata.stats(call))

    # --- to the client

    async def send(self, item: Outgoing) -> None:
        """Sends what leaves the call; waits while too much voice is on its way already."""
        if isinstance(item, ReplyPacket):
            await self._send_voice(item)
        elif isinstance(item, TextPiece):
            await self._send(messages.text(item.piece))
        elif isinstance(item, CallEvent) and item.kind is EventKind.PROMPTS_IGNORED:  # told whoever asked for a persona
            await self._send(messages.metadata(metadata.event(item)))
        elif isinstance(item, CallEvent):
            await self.notify(metadata.event(item))
        elif isinstance(item, Started):
            in_use = metadata.in_use(item, self.asked, self._settings.instance_name)
            await self._send(messages.metadata(in_use))
            await self._send(messages.HANDSHAKE)
            await self._send(self._acknowledgements.ping(), WSMsgType.PING)
            if item.resume is not None:
                await self.notify(metadata.resume(item.resume))
        else:
            self.cut_short = item.cut_short

    async def notify_position(self, position: int, waiting: int) -> None:
        """Tells the client their position in the admission queue."""
        await self.notify(metadata.queue(position, waiting))

    async def notify(self, what: metadata.Metadata) -> None:
        """Sends metadata that Moshi's own servers do not have, to clients that ask for it: others know none of it."""
        if self.asked.stats:
            await self._send(messages.metadata(what))

    async def _send_voice(self, packet: ReplyPacket) -> None:
        await self._acknowledgements.until_room()
        await self._send(messages.audio(self._reply.write(packet.data, packet.samples, MODEL_RATE_HZ)))
        if (ping := self._acknowledgements.sent(packet.samples)) is not None:
            await self._send(ping, WSMsgType.PING)

    async def _send(self, message: bytes, kind: WSMsgType = WSMsgType.BINARY) -> None:
        with contextlib.suppress(ConnectionError):  # `receive` learns of it too, and says how it ended
            if not self._websocket.closed:
                await self._websocket.send_frame(message, kind)


def _is_goodbye(end: WSMessage) -> bool:
    return end.type is WSMsgType.CLOSE and is_goodbye(end.data)
