"""Egress of a call: replies cut into packets, queued with their text and events, counted once they have left."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable

from moshi_cluster.audio.pcm import Samples
from moshi_cluster.services.gateway.audio.framing import ReplyCutter, ReplyPacket
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.events import CallEvent, Event, EventKind, PendingEvents, TextPiece
from moshi_cluster.services.gateway.calls.hop_times import HopTimes
from moshi_cluster.services.gateway.calls.ingress import UserFrame
from moshi_cluster.services.gateway.calls.reply_queue import LONGEST_PACKET_MS, ReplyQueue
from moshi_cluster.services.gateway.calls.spec import CallSpec
from moshi_cluster.services.gateway.settings import GatewaySettings


class Egress:
    """The caller's side of the replies: what the models answer goes in, `outgoing` says what to send and when."""

    def __init__(
        self,
        spec: CallSpec,
        settings: GatewaySettings,
        counters: CallCounters,
        pending: PendingEvents,
        times: HopTimes,
        on_sent: Callable[[], None],
    ) -> None:
        """counters, pending, times: kept up to date here. on_sent: called after every packet; may raise."""
        self._counters = counters
        self._pending = pending
        self._times = times
        self._on_sent = on_sent
        self._cutter = ReplyCutter(spec.output_format, spec.reply_packet_ms)
        backlog_ms = max(LONGEST_PACKET_MS, settings.reply_backlog_ms - spec.on_its_way_ms)
        self._queue: ReplyQueue[Event] = ReplyQueue(
            spec.output_format.rate_hz, backlog_ms, settings.reply_notes_max, spec.paced
        )
        self._leaving: deque[UserFrame] = deque()  # frames whose reply has not left; bounded by the queue
        self._replied_frames = 0
        self._finished = False
        self._something_new = asyncio.Event()
        self._all_sent = asyncio.Event()

    # --- what the call puts in

    def reply(self, frame: UserFrame, pcm: Samples) -> None:
        """Takes the answer [1920] to a frame. Raises LimitReached when the caller reads nothing."""
        if frame.text_piece:
            self._push_event(TextPiece(frame.text_piece, self._replied_frames))
        self._replied_frames += 1
        self._leaving.append(frame)
        for packet in self._cutter.push(pcm):
            self._push(packet)

    def notify(self, kind: EventKind, frames: int = 0, detail: str = "") -> None:
        """Tells the caller of an event, after the replies before it. Raises LimitReached when they read nothing."""
        self._push_event(CallEvent(kind, self._replied_frames, frames, detail))

    def notify_status(self) -> None:
        """Tells the caller the counters so far, and how long each hop takes. Raises LimitReached as `notify` does."""
        hops_s = self._times.take_medians_s()
        self._push_event(CallEvent(EventKind.STATUS, self._replied_frames, counters=self._counters, hops_s=hops_s))

    def notify_pending(self, now_s: float, last: bool = False) -> None:
        """Tells the caller what was filled in and dropped, when that is due. Raises LimitReached as `notify` does."""
        for kind, frames in self._pending.take(now_s, last).items():
            self.notify(kind, frames)

    def clear(self) -> None:
        """Throws away reply audio that has not left."""
        self.notify(EventKind.CLEARED, self._drop(self._queue.clear()))

    def pause(self) -> None:
        """Holds replies back; what Moshi says meanwhile is dropped and counted."""
        self.notify(EventKind.PAUSED, self._drop(self._queue.pause()))

    def resume(self) -> None:
        """Lets replies go on."""
        self._queue.resume()
        self.notify(EventKind.RESUMED)

    async def finish(self) -> None:
        """Takes no more replies: the last begun packet is completed. Returns once everything has left."""
        for packet in self._cutter.flush():
            self._push(packet)
        self.notify_pending(time.monotonic(), last=True)
        self._finished = True
        self._something_new.set()
        await self._all_sent.wait()

    # --- what the transport takes out

    async def outgoing(self) -> AsyncGenerator[ReplyPacket | Event, None]:
        """What is to be sent, as it becomes due. An item counts as sent when the next one is asked for."""
        while True:
            now_s = time.monotonic()
            item = self._queue.pop(now_s)
            if isinstance(item, ReplyPacket):
                # Taken out first: what is lost while the caller reads slowly is what waits behind it.
                frames = [self._leaving.popleft() for _ in range(item.frames_ended)]
                yield item
                self._sent(item, frames)
            elif item is not None:
                yield item
            elif (due_s := self._queue.next_due_s(now_s)) is not None:
                await asyncio.sleep(due_s - now_s)
            elif self._finished:
                self._all_sent.set()
                return
            else:
                self._something_new.clear()
                await self._something_new.wait()

    def _push(self, packet: ReplyPacket) -> None:
        dropped_frames = self._queue.push_audio(packet, time.monotonic())
        if dropped_frames:
            self._pending.add(EventKind.REPLY_DROPPED, self._drop(dropped_frames))
        self._something_new.set()

    def _push_event(self, event: Event) -> None:
        self._queue.push_event(event)
        self._something_new.set()

    def _drop(self, frames: int) -> int:
        """Reply frames that will never leave: the oldest of those that have not."""
        for _ in range(frames):
            self._leaving.popleft()
        self._counters.reply_dropped(frames)
        return frames

    def _sent(self, packet: ReplyPacket, frames: list[UserFrame]) -> None:
        self._counters.samples_out += packet.samples
        now_s = time.monotonic()
        for frame in frames:
            self._times.observe("edge_out", now_s - frame.sent_s)
            self._times.observe("turnaround", now_s - frame.complete_s)
            self._counters.frame_out(now_s - frame.complete_s)
        self._on_sent()
