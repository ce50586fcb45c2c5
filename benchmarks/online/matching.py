"""Matching of reply frames with the caller's frames that they answer, and the turnaround as callers see it.

The n-th frame stepped gives the n-th reply frame, and a packet says where in the reply it belongs. As long as nothing
was filled in or dropped, reply frame n therefore answers the caller's n-th frame. A fill or a drop shifts the pairs,
and a fill in the middle of a frame also shifts where frames begin, by what the caller had begun to say. The gateway
tells how many were filled and dropped, at most once a second, but not where. So from the first frame that a telling may
concern on, frames count as *unplaced* and have no turnaround, until the place is certain again: the caller asks for the
call's counters after each of their next packets, and the packet with which `frames_in` grows by one ends the caller's
frame `frames_in - 1`, which is stepped as number `frames_in + frames_filled - frames_dropped - 1`.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass

from moshi_cluster.audio.frame import FRAME_S

_TELLING_LATE_S = 2.0  # the gateway tells once a second, with the next frame, which may be held up; and the way to us
_SAME_TELLING_S = 0.02  # fills and drops are told by two events in a row


@dataclass(frozen=True, slots=True)
class CountersThen:
    """The call's counters at one moment."""

    samples_in: int
    frames_in: int
    frames_filled: int
    frames_dropped: int


class FrameMatcher:
    """One call's frames. All times are seconds on one monotonic clock."""

    def __init__(self, input_rate_hz: int, packet_samples: int) -> None:
        self.sent_s = array("d")
        """When each packet that was sent was sent."""
        self.turnaround_s = array("d")
        """Turnaround of each placed reply frame: arrival of its last sample less sending of the last it answers."""
        self.arrived_s = array("d")
        """When each placed reply frame was there, in the order of `turnaround_s`."""
        self.unplaced = 0
        """Reply frames whose place the events leave open."""
        self.filled = self.dropped = 0
        """Frames told to have been filled in and dropped."""
        self._frame_samples = round(FRAME_S * input_rate_hz)
        self._packet_samples = packet_samples
        self._placed_frames = array("Q")
        # Reply frame `anchor[0]` answers the samples up to number `anchor[1]`, and so on from there.
        self._anchor: tuple[int, int] | None = (0, self._frame_samples)
        self._anchor_filled = self._anchor_dropped = 0
        self._last_counters: CountersThen | None = None
        self._last_told_s = -math.inf
        self._last_told_frame = self._told_from_frame = 0
        self._hung_up = False

    @property
    def wants_counters(self) -> bool:
        """Whether to ask for the counters after the next packet. Frames that do not end with a packet stay unplaced."""
        return self._anchor is None and not self._hung_up and self._frame_samples % self._packet_samples == 0

    def sent(self, now_s: float) -> None:
        """The next packet is on its way."""
        self.sent_s.append(now_s)

    def hung_up(self) -> None:
        """No packet follows: silence completes the last frame."""
        self._hung_up = True

    def replied(self, frame_index: int, now_s: float) -> None:
        """Reply frame `frame_index`, counted from 0 with those that never came, is complete."""
        if self._anchor is None or frame_index < self._anchor[0]:
            self.unplaced += 1
            return
        position = self._anchor[1] + (frame_index - self._anchor[0]) * self._frame_samples
        packet = -(-position // self._packet_samples) - 1
        if packet >= len(self.sent_s):
            if not self._hung_up:  # an answer to what was not said: a fill that will be told later
                self._lose_place()
                self.unplaced += 1
                return
            packet = len(self.sent_s) - 1
        self._placed_frames.append(frame_index)
        self.arrived_s.append(now_s)
        self.turnaround_s.append(now_s - self.sent_s[packet])

    def told(self, frame_index: int, now_s: float, filled: int = 0, dropped: int = 0) -> None:
        """The gateway says that frames were filled in or dropped, when `frame_index` replies had been made."""
        self.filled += filled
        self.dropped += dropped
        since_s, self._last_told_s = now_s - self._last_told_s, now_s
        if since_s > _SAME_TELLING_S:
            # What is told long after the last telling is told at once; otherwise it may have been kept back since then.
            self._told_from_frame = frame_index if since_s > _TELLING_LATE_S else self._last_told_frame
        self._last_told_frame = frame_index
        if self._anchor and self.filled <= self._anchor_filled and self.dropped <= self._anchor_dropped:
            self._unplace(self._told_from_frame, self._anchor[0])  # the place was found after it happened
        else:
            self._unplace(self._told_from_frame, None)
            self._lose_place()

    def counted(self, now: CountersThen) -> None:
        """The gateway's answer to the question after a packet."""
        before, self._last_counters = self._last_counters, now
        if before is None or self._anchor is not None:
            return
        one_packet = now.samples_in - before.samples_in == self._packet_samples
        undisturbed = (now.frames_filled, now.frames_dropped) == (before.frames_filled, before.frames_dropped)
        if one_packet and undisturbed and now.frames_in == before.frames_in + 1:
            self._anchor = (now.frames_in + now.frames_filled - now.frames_dropped - 1, now.samples_in)
            self._anchor_filled, self._anchor_dropped = now.frames_filled, now.frames_dropped

    def _lose_place(self) -> None:
        self._anchor = None
        self._last_counters = None

    def _unplace(self, first_frame: int, before_frame: int | None) -> None:
        first = bisect_left(self._placed_frames, first_frame)
        before = len(self._placed_frames)
        if before_frame is not None:
            before = bisect_left(self._placed_frames, before_frame)
        self.unplaced += max(0, before - first)
        for column in (self._placed_frames, self.arrived_s, self.turnaround_s):
            del column[first:before]
