"""The caller's side of a call: packets in, frames waiting for the model out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from moshi_cluster.audio.pcm import FRAME_SAMPLES, Samples
from moshi_cluster.services.gateway.audio.framing import FrameAssembler
from moshi_cluster.services.gateway.audio.transcode import AudioDecoder
from moshi_cluster.services.gateway.calls.clock import CallerClock
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.events import EventKind, PendingEvents
from moshi_cluster.services.gateway.calls.spec import CallSpec

_SILENCE: Samples = np.zeros(FRAME_SAMPLES, dtype=np.float32)
_QUIET_PEAK = 0.003  # about -50 dB: nothing is missed of such a frame


@dataclass(slots=True)
class UserFrame:
    """80 ms of the caller on their way through the call."""

    pcm: Samples
    complete_s: float  # when its last sample was there
    sent_s: float = 0.0  # when the hop that has it got it
    user_codes: tuple[int, ...] = ()
    text_piece: str = ""


class Ingress:
    """Decodes, frames, keeps the caller's clock and holds the bounded backlog.

    All times are seconds on one monotonic clock.
    """

    def __init__(
        self, spec: CallSpec, backlog_frames: int, start_s: float, counters: CallCounters, pending: PendingEvents
    ) -> None:
        """counters and pending: kept up to date here."""
        self._decoder = AudioDecoder(spec.input_format)
        self._assembler = FrameAssembler()
        self._clock = CallerClock(start_s, spec.jitter_allowance_s, backlog_frames)
        self._counters = counters
        self._backlog: deque[UserFrame] = deque()  # bounded by the clock: it says what to drop
        self._pending = pending

    def __len__(self) -> int:
        return len(self._backlog)

    @property
    def next_deadline_s(self) -> float:
        """When `fill` next has something to do."""
        return self._clock.next_deadline_s

    def feed(self, data: bytes, now_s: float) -> int:
        """Takes a packet; returns how many frames it completed. Raises InvalidInput and changes nothing."""
        frames = self._assembler.push(self._decoder.decode(data))
        self._counters.samples_in = self._decoder.samples_in
        for pcm in frames:
            self._add(pcm, now_s)
        return len(frames)

    def fill(self, now_s: float) -> None:
        """Silence for every slot that the caller has missed; what he had begun to say leads the first of them."""
        for _ in range(self._clock.due(now_s)):
            begun = self._assembler.flush()
            self._backlog.append(UserFrame(begun.samples if begun else _SILENCE, now_s))
            self._pending.add(EventKind.FILLED, 1)
        self._note()

    def end(self, now_s: float) -> int:
        """The caller has hung up: silence completes what he had begun. Returns how many frames that is."""
        begun = self._assembler.flush(self._decoder.flush())
        if begun is None:
            return 0
        self._add(begun.samples, now_s)
        return 1

    def take(self) -> UserFrame:
        """The oldest waiting frame."""
        frame = self._backlog.popleft()
        self._clock.on_step()
        return frame

    def _add(self, pcm: Samples, now_s: float) -> None:
        quiet = bool(np.abs(pcm).max() < _QUIET_PEAK)
        self._backlog.append(UserFrame(pcm, now_s))
        for dropped in range(self._clock.on_frame(now_s, quiet)):
            if quiet and not dropped:
                self._backlog.pop()  # nothing is missed of it; what waits before it may be speech
            else:
                self._backlog.popleft()
            self._pending.add(EventKind.DROPPED, 1)
        self._note()

    def _note(self) -> None:
        figures = self._clock.counters
        self._counters.frames_in = figures.frames_in
        self._counters.frames_filled = figures.frames_filled
        self._counters.frames_dropped = figures.frames_dropped
        self._counters.backlog_frames_max = figures.backlog_frames_max
