"""Messages of a caller on the public gRPC contract, from the wire to the call."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from moshi_cluster.services.common.errors import InvalidInput, OverQuota
from moshi_cluster.services.gateway.admission.loop_budget import EVENT_S, MESSAGE_S, CallBudget, Spending
from moshi_cluster.services.gateway.admission.rate_limits import message_quota
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import gateway_pb2

_MARK_MAX_CHARACTERS = 64
_CANCELLATION_S = 0.25
_AT_LEAST_S, _PER_MESSAGE_S, _PAUSE_S, _READ_ON_S = 0.05, 0.005, 0.25, 5.0

Read = Callable[[], Awaitable[Any]]
"""The next message, or grpc.aio.EOF."""


class CallerMessages:
    """What one caller sends, read no faster than their budget allows."""

    def __init__(self, read: Read, settings: GatewaySettings, budget: CallBudget) -> None:
        self._read = read
        self._settings = settings
        self._budget = budget
        self._has_ended = False

    async def start(self) -> gateway_pb2.Start:
        """The first message. Raises InvalidInput when it is not `start`, OverQuota when it is too large."""
        first = await self._next()
        if first is None:
            # A stream that was cancelled, or is past its deadline, looks like one that ended until gRPC says so.
            await asyncio.sleep(_CANCELLATION_S)
            raise InvalidInput("start", "the stream ended before it")
        if first.WhichOneof("message") != "start":
            raise InvalidInput("start", "must be the first message")
        return first.start

    async def feed(self, call: Call, start: gateway_pb2.Start) -> None:
        """Feeds the call until the caller half-closes. start: that opened it.

        Raises InvalidInput, OverQuota, or LimitReached for a broken slo.
        """
        quota = message_quota(self._settings.max_messages_per_s, time.monotonic())
        while (request := await self._next()) is not None:
            began_s = time.thread_time()
            quota.take(time.monotonic())
            _take(request, start, call)
            taken_s = MESSAGE_S + time.thread_time() - began_s
            if request.HasField("control"):
                await self._budget.spend(taken_s + EVENT_S, Spending.CONTROL)
            else:
                await self._budget.spend(taken_s, Spending.AUDIO)
                await call.until_room()
        call.hang_up()

    async def read_on(self) -> None:
        """Throws away what the caller is about to send: a refusal that crosses it can reach them as INTERNAL.

        Ends when they pause, or send no faster than people speak, or after five seconds.
        """
        clock = asyncio.get_running_loop().time
        end_s = clock() + _READ_ON_S
        paced_s = clock() + _AT_LEAST_S
        with contextlib.suppress(TimeoutError, OverQuota):
            async with asyncio.timeout_at(paced_s) as deadline:
                while not self._has_ended:
                    await self._discard()
                    paced_s += _PER_MESSAGE_S
                    deadline.reschedule(min(paced_s, clock() + _PAUSE_S, end_s))

    async def _next(self) -> gateway_pb2.ConverseRequest | None:
        """None once the caller has half-closed. Raises OverQuota, DecodeError."""
        try:
            request = await self._read()
        except asyncio.CancelledError:
            self._has_ended = True  # gRPC goes on with that read, and lets nobody read beside it
            raise
        if request is grpc.aio.EOF:
            self._has_ended = True
            return None
        limit = self._settings.max_message_bytes
        if (size := request.ByteSize()) > limit:
            raise OverQuota("the message is too large", "MESSAGE_TOO_LARGE", limit_bytes=limit, got_bytes=size)
        message: gateway_pb2.ConverseRequest = request
        return message

    async def _discard(self) -> None:
        with contextlib.suppress(DecodeError, OverQuota):  # of a message that is too large, too
            await self._next()
        await self._budget.spend(MESSAGE_S, Spending.CONTROL)


def _take(request: gateway_pb2.ConverseRequest, start: gateway_pb2.Start, call: Call) -> None:
    kind = request.WhichOneof("message")
    if kind == "audio":
        call.feed(request.audio.data)
    elif kind == "control":
        _apply(request.control, call)
    elif kind == "start":
        if request.start != start:
            raise InvalidInput("start", "differs from the one that opened the call")
    else:
        raise InvalidInput("message", "is none of start, audio and control")


def _apply(control: gateway_pb2.Control, call: Call) -> None:
    call.heard()
    kind = control.WhichOneof("control")
    if kind == "clear":
        call.clear()
    elif kind == "mark":
        call.mark(_mark_name(control.mark.name))
    elif kind == "pause":
        call.pause()
    elif kind == "resume":
        call.resume()
    elif kind == "status":
        call.notify_status()
    elif kind == "dtmf":
        call.digit(control.dtmf.digit)
    else:
        raise InvalidInput("control", "is none of clear, mark, pause, resume, status and dtmf")


def _mark_name(name: str) -> str:
    if not 1 <= len(name) <= _MARK_MAX_CHARACTERS:
        raise InvalidInput("control.mark.name", f"must be 1 to {_MARK_MAX_CHARACTERS} characters", got=len(name))
    return name
