"""One call: the caller's edge, the workers behind it, the reply, and what the caller is told.

    feed -> backlog -> pipeline -> reply queue -> outgoing

The transport (gRPC, WebSocket) feeds packets in, sends what `outgoing` yields and runs `run` beside both.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator

from moshi_cluster.audio.frame import FRAME_S
from moshi_cluster.audio.pcm import Samples
from moshi_cluster.services.common.errors import LimitReached
from moshi_cluster.services.gateway.admission.rate_limits import audio_quota
from moshi_cluster.services.gateway.audio.framing import ReplyCutter, ReplyPacket
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.events import CallEvent, Event, EventKind, PendingEvents, TextPiece
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.calls.hop_times import HopTimes
from moshi_cluster.services.gateway.calls.ingress import Ingress, UserFrame
from moshi_cluster.services.gateway.calls.limits import CallLimits, check_slo
from moshi_cluster.services.gateway.calls.pipeline import Pipeline
from moshi_cluster.services.gateway.calls.reply_queue import ReplyQueue, TooManyEvents
from moshi_cluster.services.gateway.calls.spec import CallSpec
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.gateway.workers.streams import CallStreams

_log = logging.getLogger(__name__)
_REPORT_INTERVAL_S = 1.0


class Call:
    """A call from `started` to `ended`."""

    def __init__(
        self,
        session_id: str,
        spec: CallSpec,
        settings: GatewaySettings,
        metrics: GatewayMetrics,
        streams: CallStreams | None,
        history: History,
    ) -> None:
        """streams: None for a loopback call, which answers every frame with itself. history: goes on from here."""
        now_s = time.monotonic()
        self.counters = CallCounters()
        self.history = history
        self.hop_times = HopTimes(metrics)
        self.cut_short = False
        self._session_id = session_id
        self._spec = spec
        self._metrics = metrics
        self._streams = streams
        self._pending = PendingEvents(self._count)
        self._edge = Ingress(spec, settings.backlog_frames, now_s, self.counters, self._pending)
        self._limits = CallLimits(settings, now_s)
        self._audio_quota = audio_quota(now_s)
        self._cutter = ReplyCutter(spec.output_format, spec.reply_packet_ms)
        self._replies: ReplyQueue[Event] = ReplyQueue(
            spec.output_format.rate_hz, settings.reply_backlog_ms, settings.reply_notes_max, spec.paced
        )
        self._inflight = asyncio.Semaphore(settings.inflight_frames)
        self._frame_waits = asyncio.Event()
        self._reply_waits = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._hung_up = self._all_pushed = False
        self._leaving: deque[UserFrame] = deque()  # frames whose reply has not left; bounded by the reply queue
        self._replied_frames = 0
        self._next_report_s = now_s

    # --- the transport's side

    def feed(self, data: bytes) -> None:
        """Takes a packet of the caller's voice; never waits.

        Raises InvalidInput, OverQuota for a flood, or LimitReached for a broken slo.
        """
        if self._hung_up:
            return  # the gateway has ended the call, the caller does not know it yet
        start_s = time.monotonic()
        self._limits.heard(start_s)
        if frames := self._edge.feed(data, start_s):
            self._metrics.frames["in"].inc(frames)
            self.hop_times.observe("edge_in", time.monotonic() - start_s)
            self._audio_quota.take(start_s, frames * FRAME_S)
            self._frame_waits.set()
            self._report(start_s)
            check_slo(self._spec.slo, self.counters, len(self._edge))

    def heard(self) -> None:
        """The caller sent something that is not audio: he is still there."""
        self._limits.heard(time.monotonic())

    def hang_up(self) -> None:
        """No more audio will come: `outgoing` ends once everything is answered."""
        if not self._hung_up:
            now_s = time.monotonic()
            self._limits.hung_up(now_s)
            if frames := self._edge.end(now_s):
                self._metrics.frames["in"].inc(frames)
                self.hop_times.observe("edge_in", time.monotonic() - now_s)
            self._hung_up = True
            self._frame_waits.set()

    def cut(self) -> None:
        """Hangs up in the caller's place."""
        self.cut_short = True
        self.hang_up()

    def clear(self) -> None:
        """Throws away reply audio that has not left."""
        self._event(EventKind.CLEARED, self._withdrawn(self._replies.clear()))

    def pause(self) -> None:
        """Replies stop; what Moshi says meanwhile is dropped and counted."""
        self._event(EventKind.PAUSED, self._withdrawn(self._replies.pause()))

    def resume(self) -> None:
        """Replies go on."""
        self._replies.resume()
        self._event(EventKind.RESUMED)

    def mark(self, name: str) -> None:
        """Echoes the name once the reply audio before it has left."""
        self._event(EventKind.MARK, detail=name)

    def digit(self, digit: str) -> None:
        """Notes a key press: the caller gets the digit back, the log only that there was one."""
        _log.info("key pressed session=%s", self._session_id)
        self._metrics.digit()
        self._event(EventKind.DTMF, detail=digit)

    def tell_status(self) -> None:
        """Sends the counters so far, and how long each hop takes."""
        hops_s = self.hop_times.take_medians_s()
        self._note(CallEvent(EventKind.STATUS, self._replied_frames, counters=self.counters, hops_s=hops_s))

    def go_away(self, grace_s: float) -> None:
        """Tells the caller that the gateway stops in `grace_s`, unless so much waits for him that he reads nothing."""
        with contextlib.suppress(LimitReached):
            self._event(EventKind.GO_AWAY, detail=f"the gateway stops in {grace_s:g} s")

    async def outgoing(self) -> AsyncGenerator[ReplyPacket | Event, None]:
        """What is to be sent, as it becomes due. An item counts as sent when the next one is asked for."""
        while True:
            now_s = time.monotonic()
            item = self._replies.pop(now_s)
            if item is not None:
                if isinstance(item, ReplyPacket):
                    # Taken out first: what is lost while the caller reads slowly is what waits behind it.
                    frames = [self._leaving.popleft() for _ in range(item.frames_ended)]
                    yield item
                    self._sent(item, frames)
                else:
                    yield item
            elif (due_s := self._replies.next_due_s(now_s)) is not None:
                await asyncio.sleep(due_s - now_s)
            elif self._all_pushed:
                self._all_sent.set()
                return
            else:
                self._reply_waits.clear()
                await self._reply_waits.wait()

    # --- the tasks

    async def run(self) -> None:
        """Carries frames until the caller has hung up and everything is answered.

        Raises Unavailable when a worker is lost, LimitReached when a limit or the slo is passed.
        """
        async with asyncio.TaskGroup() as tasks:
            beside = [tasks.create_task(self._fill_gaps()), tasks.create_task(self._watch_limits())]
            await self._carry()
            for packet in self._cutter.flush():
                self._push(packet)
            self._report(time.monotonic(), last=True)
            self._all_pushed = True
            self._reply_waits.set()
            await self._all_sent.wait()
            for task in beside:
                task.cancel()

    async def _carry(self) -> None:
        if self._streams is None:
            await self._loop_back()
        else:
            await Pipeline(self._streams, self.history, self.hop_times, self._next_frame, self._reply).run()

    async def _loop_back(self) -> None:
        while (frame := await self._next_frame()) is not None:
            frame.sent_s = time.monotonic()
            self._reply(frame, frame.pcm)

    async def _next_frame(self) -> UserFrame | None:
        """The caller's oldest waiting frame, None once he has hung up and none is left."""
        await self._inflight.acquire()  # first, so that the frame may still be dropped while it waits
        while not len(self._edge):
            if self._hung_up:
                return None
            self._frame_waits.clear()
            await self._frame_waits.wait()
        self._metrics.backlog_frames.observe(len(self._edge) - 1)
        return self._edge.take()

    async def _fill_gaps(self) -> None:
        """The model speaks only when it is stepped: silence stands in for a caller who sends nothing."""
        while not self._hung_up:
            await asyncio.sleep(max(0.0, self._edge.next_deadline_s - time.monotonic()))
            now_s = time.monotonic()
            if self._edge.next_deadline_s <= now_s and not self._hung_up:
                self._edge.fill(now_s)
                self._frame_waits.set()
                self._report(now_s)

    async def _watch_limits(self) -> None:
        while True:
            now_s = time.monotonic()
            await asyncio.sleep(self._limits.check(now_s) - now_s)

    # --- one frame's way

    def _reply(self, frame: UserFrame, pcm: Samples) -> None:
        self._inflight.release()
        if frame.text_piece:
            self._note(TextPiece(frame.text_piece, self._replied_frames))
        self._replied_frames += 1
        self._leaving.append(frame)
        for packet in self._cutter.push(pcm):
            self._push(packet)

    def _push(self, packet: ReplyPacket) -> None:
        dropped_frames = self._replies.push_audio(packet, time.monotonic())
        if dropped_frames:
            self._pending.add(EventKind.REPLY_DROPPED, self._lost(dropped_frames))
        self._reply_waits.set()

    def _withdrawn(self, frames: int) -> int:
        """Reply frames lost at the caller's own request, of which another event tells him."""
        self._count(EventKind.REPLY_DROPPED, frames)
        return self._lost(frames)

    def _lost(self, frames: int) -> int:
        """Reply frames that will never leave; the oldest of those that have not."""
        for _ in range(frames):
            self._leaving.popleft()
        self.counters.reply_frames_dropped += frames
        return frames

    def _sent(self, packet: ReplyPacket, frames: list[UserFrame]) -> None:
        self.counters.samples_out += packet.samples
        now_s = time.monotonic()
        for frame in frames:
            self.hop_times.observe("edge_out", now_s - frame.sent_s)
            self.hop_times.observe("turnaround", now_s - frame.complete_s)
            self._metrics.frames["out"].inc()
            self.counters.answered(now_s - frame.complete_s)
            if now_s - frame.complete_s > FRAME_S:
                self._metrics.frames["late"].inc()
        check_slo(self._spec.slo, self.counters, len(self._edge))

    # --- what the operator and the caller are told

    def _count(self, kind: EventKind, frames: int) -> None:
        self._metrics.frames[kind.name.lower()].inc(frames)

    def _event(self, kind: EventKind, frames: int = 0, detail: str = "") -> None:
        self._note(CallEvent(kind, self._replied_frames, frames, detail))

    def _note(self, note: Event) -> None:
        try:
            self._replies.push_event(note)
        except TooManyEvents as error:
            raise LimitReached(str(error)) from None
        self._reply_waits.set()

    def _report(self, now_s: float, last: bool = False) -> None:
        """Tells what was filled and dropped, at most once a second: a long hold is not a flood of events."""
        if now_s < self._next_report_s and not last:
            return
        for kind, frames in self._pending.take().items():
            self._event(kind, frames)
            self._next_report_s = now_s + _REPORT_INTERVAL_S
