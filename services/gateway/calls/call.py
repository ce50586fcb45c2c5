"""Call: what a transport feeds and what it sends, the workers between, the limits around.

    feed -> ingress -> pipeline -> egress -> outgoing

The transport (gRPC, WebSocket) feeds packets in, sends what `outgoing` yields and runs `run` beside both.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

from moshi_cluster.audio.frame import FRAME_S
from moshi_cluster.audio.pcm import Samples
from moshi_cluster.services.common.deadlines import set_within
from moshi_cluster.services.common.errors import LimitReached
from moshi_cluster.services.gateway.admission.rate_limits import audio_pace
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.clock import CallerClock
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.egress import Egress
from moshi_cluster.services.gateway.calls.events import Event, EventKind, PendingEvents
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.calls.hop_times import HopTimes
from moshi_cluster.services.gateway.calls.ingress import Ingress, UserFrame
from moshi_cluster.services.gateway.calls.key_presses import DIGITS, KeyPresses
from moshi_cluster.services.gateway.calls.limits import CallLimits, check_slo
from moshi_cluster.services.gateway.calls.move_reports import MoveReports
from moshi_cluster.services.gateway.calls.mover import MovePlan
from moshi_cluster.services.gateway.calls.pipeline import Pipeline
from moshi_cluster.services.gateway.calls.spec import CallSpec
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.gateway.workers.elsewhere import Elsewhere
from moshi_cluster.services.gateway.workers.streams import CallStreams

_HALTED_S = 0.01
"""Woken this late, the process stood still itself: halted, without a core, or in a long turn of its loop."""
_READ_FIRST_S = FRAME_S / 2


class Call:
    """A call from `Started` to `Ended`."""

    def __init__(
        self,
        session_id: str,
        spec: CallSpec,
        settings: GatewaySettings,
        metrics: GatewayMetrics,
        streams: CallStreams | None,
        elsewhere: Elsewhere,
        history: History,
        called_s: float,
    ) -> None:
        """streams: None for a loopback call, which answers every frame with itself. elsewhere: where they go on when
        they have to. history: goes on from here.

        called_s: since when the caller may speak.
        """
        now_s = time.monotonic()
        self.counters = CallCounters(metrics)
        self.history = history
        self.hop_times = HopTimes(metrics, session_id)
        self.cut_short = False
        self._session_id = session_id
        self._spec = spec
        self._metrics = metrics
        self._streams = streams
        self._elsewhere = elsewhere
        pending = PendingEvents(now_s)
        clock = CallerClock(
            now_s, spec.jitter_allowance_s, settings.backlog_frames, spec.first_frame_allowance_s, called_s
        )
        self._ingress = Ingress(spec.input_format, clock, self.counters, pending)
        self._egress = Egress(spec, settings, self.counters, pending, self.hop_times, self._check_slo)
        self._limits = CallLimits(settings, now_s)
        self._pace = audio_pace(settings.backlog_frames * FRAME_S, called_s)
        self._move_plan = _move_plan(settings)
        self._backlog_frames = settings.backlog_frames
        self._read_on_s = now_s
        self._frame_taken = asyncio.Event()
        self._keys = KeyPresses(session_id, metrics, now_s)
        self._inflight = asyncio.Semaphore(settings.inflight_frames)
        self._frame_waits = asyncio.Event()
        self._hung_up = False

    # --- the transport's side

    def feed(self, data: bytes, together: int = 0) -> int:
        """Takes a packet of the caller's voice and returns how many frames it completed; never waits.

        together: how many the packets before it in the same message have completed. Raises InvalidInput, or
        LimitReached for a broken slo.
        """
        if self._hung_up:
            return 0  # the gateway has ended the call, the caller does not know it yet
        start_s = time.monotonic()
        self._limits.heard(start_s)
        self._read_on_s = start_s + self._pace.delay_s(start_s, self._ingress.duration_s(data))
        if frames := self._ingress.feed(data, start_s, together):
            self.hop_times.observe("edge_in", time.monotonic() - start_s)
            self._frame_waits.set()
            self._egress.notify_pending(start_s)
            self._check_slo()
        return frames

    @property
    def speech_frames(self) -> int:
        """Frames in a row, up to now, in which the caller seems to speak."""
        return self._ingress.speech_frames

    async def until_room(self) -> bool:
        """Returns once the caller's next packet is to be read, and whether that took time and there is room for it.

        Who sends faster than people speak waits, and what they send waits in their own connection: nothing of it is
        lost, and it takes no more of the models than a call in real time and a quarter.
        """
        waited = False
        while not self._hung_up and (hold_s := self._hold_s(time.monotonic())) > 0:
            self._frame_taken.clear()
            await set_within(self._frame_taken, hold_s)
            waited = True
        return waited and len(self._ingress) < self._backlog_frames

    def _hold_s(self, now_s: float) -> float:
        return max(self._read_on_s - now_s, self._ingress.hold_s(now_s))

    def heard(self) -> None:
        """The caller sent something that is not audio: they are still there."""
        self._limits.heard(time.monotonic())

    def hang_up(self) -> None:
        """No more audio will come: `outgoing` ends once everything is answered."""
        if not self._hung_up:
            now_s = time.monotonic()
            self._limits.hung_up(now_s)
            if self._ingress.end(now_s):
                self.hop_times.observe("edge_in", time.monotonic() - now_s)
            self._hung_up = True
            self._frame_waits.set()

    def cut(self) -> None:
        """Hangs up in the caller's place."""
        self.cut_short = True
        self.hang_up()

    def clear(self) -> None:
        """Throws away reply audio that has not left."""
        self._egress.clear()

    def pause(self) -> None:
        """Replies stop; what Moshi says meanwhile is dropped and counted."""
        self._egress.pause()

    def resume(self) -> None:
        """Replies go on."""
        self._egress.resume()

    def mark(self, name: str) -> None:
        """Echoes the name once the reply audio before it has left."""
        self._egress.notify(EventKind.MARK, detail=name)

    def digit(self, digit: str) -> None:
        """Counts a key press: the caller gets the digit back, or is told that it is none. Raises OverQuota."""
        if self._keys.press(digit, time.monotonic()):
            self._egress.notify(EventKind.DTMF, detail=digit)
        else:
            self._egress.notify(EventKind.DTMF_IGNORED, detail=f"must be one of {DIGITS}")

    def notify_status(self) -> None:
        """Tells the caller the counters so far, and how long each hop takes."""
        self._egress.notify_status()

    def go_away(self, who: str, left_s: float) -> None:
        """Tells the caller who stops and that the call ends in `left_s`, unless they have read nothing for long."""
        with contextlib.suppress(LimitReached):
            self._egress.notify(EventKind.GO_AWAY, detail=f"{who} stops: the call ends in {round(left_s, 1):g} s")

    def outgoing(self) -> AsyncGenerator[ReplyPacket | Event, None]:
        """What is to be sent, as it becomes due. An item counts as sent when the next one is asked for."""
        return self._egress.outgoing()

    # --- the tasks

    async def run(self) -> None:
        """Carries frames until the caller has hung up and everything is answered.

        Raises Unavailable when a worker is lost, LimitReached when a limit or the slo is passed.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(work) for work in (self._fill_gaps(), self._watch_limits())]
                await self._carry()
                await self._egress.finish()
                for task in beside:
                    task.cancel()
        finally:
            self._keys.log()

    async def _carry(self) -> None:
        if self._streams is None:
            await self._loop_back()
        else:
            await self._pipeline(self._streams).run()

    def _pipeline(self, streams: CallStreams) -> Pipeline:
        reports = MoveReports(self._session_id, self._metrics, self.counters, self._tell_moved, self.go_away)
        return Pipeline(
            streams,
            self._elsewhere,
            self.history,
            self.hop_times,
            self._next_frame,
            self._reply,
            self._move_plan,
            reports,
        )

    async def _loop_back(self) -> None:
        while (frame := await self._next_frame()) is not None:
            frame.sent_s = time.monotonic()
            self._reply(frame, frame.pcm)

    async def _next_frame(self) -> UserFrame | None:
        """The caller's oldest waiting frame, None once they have hung up and none is left."""
        await self._inflight.acquire()  # first, so that the frame may still be dropped while it waits
        while not len(self._ingress):
            if self._hung_up:
                return None
            self._frame_waits.clear()
            await self._frame_waits.wait()
        self._metrics.backlog_frames.observe(len(self._ingress) - 1)
        self._frame_taken.set()
        return self._ingress.take()

    def _reply(self, frame: UserFrame, pcm: Samples) -> None:
        self._inflight.release()
        self._egress.reply(frame, pcm)

    async def _fill_gaps(self) -> None:
        """The model speaks only when it is stepped: silence stands in for a caller who sends nothing.

        When it was this process that stood still, what they sent meanwhile is read first.
        """
        while not self._hung_up:
            due_s = self._ingress.next_deadline_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            if time.monotonic() - min(due_s, self._ingress.next_deadline_s) > _HALTED_S:
                await asyncio.sleep(_READ_FIRST_S)
            now_s = time.monotonic()
            if self._ingress.next_deadline_s <= now_s and not self._hung_up:
                self._ingress.fill(now_s)
                self._frame_waits.set()
                self._egress.notify_pending(now_s)

    async def _watch_limits(self) -> None:
        while True:
            now_s = time.monotonic()
            await asyncio.sleep(self._limits.check(now_s) - now_s)

    def _tell_moved(self, detail: str) -> None:
        with contextlib.suppress(LimitReached):  # as in `go_away`
            self._egress.notify(EventKind.MOVED, detail=detail)

    def _check_slo(self) -> None:
        check_slo(self._spec.slo, self.counters, len(self._ingress))


def _move_plan(settings: GatewaySettings) -> MovePlan:
    return MovePlan(
        settings.answer_timeout_s,
        settings.move_timeout_s,
        settings.open_timeout_s,
        settings.remembered_encode_frames,
        settings.remembered_decode_frames,
    )
