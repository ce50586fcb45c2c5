"""Egress: what leaves in which order, what counts as sent, what is lost and told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.services.common.errors import LimitReached
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.egress import Egress
from moshi_cluster.services.gateway.calls.events import CallEvent, Event, EventKind, PendingEvents, TextPiece
from moshi_cluster.services.gateway.calls.hop_times import HopTimes
from moshi_cluster.services.gateway.calls.ingress import UserFrame
from moshi_cluster.services.gateway.calls.spec import CallSpec
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import common_pb2
from tests.services.in_process import few_turns

FLOATS = AudioFormat(Encoding.PCM_F32LE, 24_000)


class Leaving:
    """An egress and the transport that takes from it."""

    def __init__(self, packet_ms: int = 80, on_sent: Callable[[], None] = lambda: None, **settings: int) -> None:
        metrics = GatewayMetrics(CollectorRegistry())
        spec = CallSpec(FLOATS, FLOATS, packet_ms, 0.1, common_pb2.Sampling(seed=1))
        self.counters = CallCounters(metrics)
        pending = PendingEvents(time.monotonic())
        times = HopTimes(metrics, "session")
        self.egress = Egress(spec, GatewaySettings(**settings), self.counters, pending, times, on_sent)
        self.outgoing = self.egress.outgoing()

    def reply(self, *levels: float, text_piece: str = "", waited_s: float = 0.0) -> None:
        """A reply frame of each level, to a frame of that age."""
        for level in levels:
            pcm = np.full(FRAME_SAMPLES, level, np.float32)
            complete_s = time.monotonic() - waited_s
            self.egress.reply(UserFrame(pcm, complete_s, sent_s=complete_s, text_piece=text_piece), pcm)

    async def next(self) -> float | Event:
        """What leaves next: an event, or the level of a packet."""
        item = await anext(self.outgoing)
        return float(np.frombuffer(item.data, "<f4")[0]) if isinstance(item, ReplyPacket) else item

    async def rest(self) -> list[float | Event]:
        """Everything that still leaves."""
        finish = asyncio.create_task(self.egress.finish())
        items = []
        with contextlib.suppress(StopAsyncIteration):
            while True:
                items.append(await self.next())
        await finish
        return items


async def test_replies_leave_in_order_with_their_text_before_them() -> None:
    leaving = Leaving()
    leaving.reply(0.25)
    leaving.reply(0.5, text_piece=" so")
    leaving.egress.notify(EventKind.MARK, detail="two")
    leaving.reply(0.75)
    mark = CallEvent(EventKind.MARK, 2, detail="two")
    assert await leaving.rest() == [0.25, TextPiece(" so", 1), 0.5, mark, 0.75]
    assert (leaving.counters.frames_out, leaving.counters.samples_out) == (3, 3 * FRAME_SAMPLES)


async def test_an_item_counts_as_sent_when_the_next_one_is_asked_for() -> None:
    leaving = Leaving()
    leaving.reply(0.25, 0.5)
    await leaving.next()
    assert (leaving.counters.frames_out, leaving.counters.samples_out) == (0, 0)
    await leaving.next()
    assert (leaving.counters.frames_out, leaving.counters.samples_out) == (1, FRAME_SAMPLES)


async def test_a_frame_counts_with_the_packet_that_ends_it() -> None:
    leaving = Leaving(packet_ms=100)
    leaving.reply(0.25, 0.5)
    assert await leaving.next() == 0.25  # all of the first frame and a quarter of the second
    assert await leaving.rest() == [0.5]
    assert (leaving.counters.frames_out, leaving.counters.samples_out) == (2, 2 * FRAME_SAMPLES)


async def test_what_is_lost_while_a_packet_is_on_its_way_is_what_waits_behind_it() -> None:
    leaving = Leaving()
    leaving.reply(0.25, waited_s=1.5)
    leaving.reply(0.5, 0.75)
    assert await leaving.next() == 0.25
    leaving.egress.clear()
    assert await leaving.rest() == [CallEvent(EventKind.CLEARED, 3, frames=2)]
    assert (leaving.counters.frames_out, leaving.counters.reply_frames_dropped) == (1, 2)
    assert leaving.counters.frames_late == 1  # the one that left waited so long
    assert leaving.counters.turnaround.quantile_s(0.5) > 1.4


async def test_what_is_said_during_a_pause_never_leaves() -> None:
    leaving = Leaving()
    leaving.reply(0.25)
    leaving.egress.pause()
    leaving.reply(0.5, 0.75, text_piece=" a")
    leaving.egress.resume()
    leaving.reply(1.0)
    paused, resumed = CallEvent(EventKind.PAUSED, 1, frames=1), CallEvent(EventKind.RESUMED, 3)
    dropped = CallEvent(EventKind.REPLY_DROPPED, 4, frames=2)
    assert await leaving.rest() == [paused, TextPiece(" a", 1), TextPiece(" a", 2), resumed, 1.0, dropped]
    assert (leaving.counters.frames_out, leaving.counters.reply_frames_dropped) == (1, 3)


async def test_a_slow_reader_loses_the_oldest_and_is_told_with_the_rest() -> None:
    leaving = Leaving(reply_backlog_ms=160)
    leaving.reply(0.1, 0.2, 0.3, 0.4, 0.5)
    assert leaving.counters.reply_frames_dropped == 3
    leaving.egress.notify_pending(time.monotonic())
    assert await leaving.rest() == pytest.approx([0.4, 0.5, CallEvent(EventKind.REPLY_DROPPED, 5, frames=3)])


async def test_a_status_has_the_counters_and_where_the_time_went() -> None:
    leaving = Leaving()
    leaving.reply(0.25)
    await leaving.next()
    leaving.egress.notify_status()
    status = await leaving.next()
    assert isinstance(status, CallEvent) and status.kind is EventKind.STATUS
    assert status.counters is leaving.counters
    assert status.hops_s == {}  # the packet had not left when the status was asked for


async def test_a_caller_who_takes_nothing_cannot_go_on() -> None:
    leaving = Leaving(reply_notes_max=10)
    for _ in range(10):
        leaving.egress.notify(EventKind.DTMF, detail="1")
    with pytest.raises(LimitReached, match="too many texts and events wait unread"):
        leaving.egress.notify(EventKind.DTMF, detail="1")
    with pytest.raises(LimitReached, match="too many texts and events wait unread"):
        leaving.reply(0.25, text_piece=" a")


async def test_what_is_raised_after_a_packet_ends_the_outgoing() -> None:
    def broken() -> None:
        raise LimitReached("slo: broken")

    leaving = Leaving(on_sent=broken)
    leaving.reply(0.25, 0.5)
    await leaving.next()
    with pytest.raises(LimitReached, match="slo"):
        await leaving.next()
    assert leaving.counters.frames_out == 1


async def test_it_is_finished_once_the_last_item_has_left() -> None:
    leaving = Leaving()
    leaving.reply(0.25)
    finish = asyncio.create_task(leaving.egress.finish())
    assert await leaving.next() == 0.25
    await few_turns()
    assert not finish.done()
    assert await leaving.rest() == []
    await finish
    assert leaving.counters.frames_out == 1


async def test_a_transport_that_waits_is_woken_by_a_reply() -> None:
    leaving = Leaving()
    waiting = asyncio.create_task(leaving.next())
    await few_turns()
    leaving.reply(0.25)
    assert await waiting == 0.25
    assert await leaving.rest() == []
