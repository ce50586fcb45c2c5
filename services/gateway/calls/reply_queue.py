"""Reply queue of a call: audio that waits for the caller, bounded in time, and the text and events between it."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from moshi_cluster.audio.frame import FRAME_S
from moshi_cluster.services.common.errors import LimitReached
from moshi_cluster.services.gateway.audio.framing import ReplyPacket

Event = TypeVar("Event")

STANDING_S = 0.4
"""A paced queue that never fell below one frame for this long is behind, not smoothing jitter."""

LONGEST_PACKET_MS = 100


class ReplyQueue(Generic[Event]):
    """One call's replies in the order in which they were pushed. Audio may be dropped, text and events never.

    A mark is an event: pushed when the caller asks for it, it leaves once the audio before it has left or was dropped.

    Paced, packets leave one packet length apart on an absolute schedule, which starts again with the first packet after
    the queue ran dry. Every `now_s` is a time on one monotonic clock, in seconds.
    """

    def __init__(self, rate_hz: int, limit_ms: int, events_max: int, paced: bool) -> None:
        """`limit_ms` of audio at `rate_hz` and `events_max` texts and events may wait for a caller who reads slowly."""
        if limit_ms < LONGEST_PACKET_MS:
            raise ValueError(f"limit_ms: must be at least {LONGEST_PACKET_MS}, the longest packet, got {limit_ms}")
        self._rate_hz = rate_hz
        self._limit_samples = limit_ms * rate_hz // 1000
        self._events_max = events_max
        self._paced = paced
        self._paused = False
        self._audio: deque[tuple[int, ReplyPacket]] = deque()
        self._events: deque[tuple[int, Event]] = deque()
        self._pushed = 0
        self._audio_samples = 0
        self._pace = _Pace(rate_hz)

    def push_audio(self, packet: ReplyPacket, now_s: float) -> int:
        """Returns how many frames were dropped for it: the oldest beyond the limit, or its own while paused."""
        if self._paused:
            return packet.frames_ended
        if not self._audio:
            self._pace.restart_if_late(now_s)
        self._audio.append((self._next_number(), packet))
        self._audio_samples += packet.samples
        excess = self._audio_samples - self._limit_samples
        if self._paced:
            standing = self._pace.standing_samples(self._audio_samples - packet.samples, now_s)
            # Whole packets only, so that the queue is not dry afterwards.
            excess = max(excess, standing - packet.samples + 1)
        return self._drop_oldest(excess)

    def push_event(self, event: Event) -> None:
        """Raises LimitReached when `events_max` wait already: the caller reads neither audio nor text."""
        if len(self._events) >= self._events_max:
            raise LimitReached("too many texts and events wait unread", limit=self._events_max)
        self._events.append((self._next_number(), event))

    def pop(self, now_s: float) -> ReplyPacket | Event | None:
        """What leaves now; None when nothing may."""
        if self._event_is_next():
            return self._events.popleft()[1]
        if not self._audio or (self._paced and self._pace.due_s > now_s):
            return None
        packet = self._take_audio()
        self._pace.sent(packet.samples, self._audio_samples)
        return packet

    def next_due_s(self, now_s: float) -> float | None:
        """When `pop` next has something: `now_s` for at once, None for not before a push."""
        if self._event_is_next():
            return now_s
        if not self._audio:
            return None
        return max(now_s, self._pace.due_s) if self._paced else now_s

    def clear(self) -> int:
        """Drops the audio that has not left; text and events behind it leave next. Returns how many frames."""
        return self._drop_oldest(self._audio_samples)

    def pause(self) -> int:
        """Drops the audio that waits and, until `resume`, all that is pushed. Returns how many frames waited."""
        self._paused = True
        return self.clear()

    def resume(self) -> None:
        """Takes audio again."""
        self._paused = False

    def _next_number(self) -> int:
        self._pushed += 1
        return self._pushed

    def _event_is_next(self) -> bool:
        return bool(self._events) and (not self._audio or self._events[0][0] < self._audio[0][0])

    def _take_audio(self) -> ReplyPacket:
        _, packet = self._audio.popleft()
        self._audio_samples -= packet.samples
        return packet

    def _drop_oldest(self, excess_samples: int) -> int:
        """Drops packets until at least `excess_samples` are gone; none when that is not positive."""
        dropped, goal = 0, self._audio_samples - excess_samples
        while self._audio_samples > goal:
            dropped += self._take_audio().frames_ended
        return dropped


class _Pace:
    """The absolute schedule of a paced queue, and whether it has fallen behind it for good."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._anchor_s = float("-inf")
        self._sent_samples = 0
        self._least_samples = 0
        self._window_start_s = float("-inf")

    @property
    def due_s(self) -> float:
        """When the next packet leaves."""
        return self._anchor_s + self._sent_samples / self._rate_hz

    def restart_if_late(self, now_s: float) -> None:
        """The queue is dry. A packet that comes after its time begins a new schedule rather than a rush."""
        if self.due_s < now_s:
            self._anchor_s = now_s
            self._sent_samples = 0

    def sent(self, samples: int, left_samples: int) -> None:
        """A packet has left, with so many samples behind it."""
        self._sent_samples += samples
        self._least_samples = min(self._least_samples, left_samples)

    def standing_samples(self, waiting_samples: int, now_s: float) -> int:
        """Samples beyond one frame that have waited through the whole of the last `STANDING_S`."""
        if now_s - self._window_start_s < STANDING_S:
            self._least_samples = min(self._least_samples, waiting_samples)
            return 0
        standing = self._least_samples - round(FRAME_S * self._rate_hz)
        self._window_start_s = now_s
        self._least_samples = waiting_samples
        return max(0, standing)
