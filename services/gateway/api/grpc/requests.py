"""Requests of the public gRPC contract, from the wire to the call."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.admission.rate_limits import message_quota
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.v1 import gateway_pb2

_MARK_MAX_CHARACTERS = 64

Requests = AsyncIterator[gateway_pb2.ConverseRequest]


async def read_start(requests: Requests) -> gateway_pb2.Start:
    """The first message. Raises InvalidInput when it is not `start`."""
    try:
        first = await anext(requests)
    except StopAsyncIteration:
        raise InvalidInput("start", "the stream ended before it") from None
    if first.WhichOneof("message") != "start":
        raise InvalidInput("start", "must be the first message")
    return first.start


async def read_caller(requests: Requests, start: gateway_pb2.Start, call: Call, packets_per_s: float) -> None:
    """Feeds the call until the caller half-closes. Raises InvalidInput, OverQuota, or LimitReached for a broken slo."""
    quota = message_quota(packets_per_s, time.monotonic())
    async for request in requests:
        quota.take(time.monotonic())
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
    call.hang_up()


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
        raise InvalidInput("control.mark.name", f"must be 1 to {_MARK_MAX_CHARACTERS} characters, got {len(name)}")
    return name
