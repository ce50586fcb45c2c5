"""Resuming of calls that are lost: each goes on in a further call, with a record of its own."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import grpc

from benchmarks.online.caller import Caller
from benchmarks.online.impairments import SendPlan
from benchmarks.online.matching import FrameMatcher
from benchmarks.online.record import RESUMED, CallRecord

_PATIENCE_S, _PAUSE_S = 20.0, 0.1


async def resume(caller: Caller, callers: list[Caller], target: str, options: Sequence[tuple[str, object]]) -> None:
    """Goes on with a caller's call for as long as it is lost, each time over a new connection to host:port.

    callers: gets the further ones, while they call.
    """
    until_s = math.inf
    while caller.record.is_cut and time.monotonic() < until_s:
        going_on = caller.going_on(*_rest_of(caller))
        callers.append(going_on)
        async with grpc.aio.insecure_channel(target, options) as channel:
            await going_on.call(channel)
        if going_on.record.started_s is not None:
            caller.record.outcome = RESUMED
            caller, until_s = going_on, math.inf
        else:
            callers.remove(going_on)
            until_s = min(until_s, time.monotonic() + _PATIENCE_S)
            await asyncio.sleep(_PAUSE_S)


def _rest_of(cut: Caller) -> tuple[CallRecord, SendPlan]:
    """What the cut call did not come to, from the packet on that is next: its record, still empty, and its plan."""
    sent = len(cut.record.lateness_s)
    offsets_s = cut.plan.offsets_s[sent:]
    rest = SendPlan(cut.plan.packets[sent:], [offset_s - offsets_s[0] for offset_s in offsets_s])
    line = cut.record.line
    plan = replace(cut.record.plan, frames=len(rest.packets) * line.packet_samples // line.frame_samples)
    matcher = FrameMatcher(line.rate_hz, line.packet_samples)
    return CallRecord(plan, line, matcher, cut.record.playback, reply_line=cut.record.reply_line), rest
