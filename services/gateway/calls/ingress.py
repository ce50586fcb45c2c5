"""Ingress of a call: the caller's packets in, frames that wait for the model out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.audio.pcm import Samples
from moshi_cluster.services.gateway.audio.formats import AudioFormat
from moshi_cluster.services.gateway.audio.framing import FrameAssembler
from moshi_cluster.services.gateway.audio.transcode import AudioDecoder
from moshi_cluster.services.gateway.calls.clock import CallerClock
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.events import EventKind, PendingEvents

_SILENCE: Samples = np.zeros(FRAME_SAMPLES, dtype=np.float32)
_SPEECH_PEAK = 0.02  # about -34 dB: above what lines hum
_QUIET_PEAK = 0.003  # about -50 dB: nothing is missed of such a frame


@dataclass(slots=True)
class UserFrame:
    """80 ms of the caller on their way through the call."""

    pcm: Samples
    complete_s: float  # when its last sample was there
    sent_s: float = 0.0  # when the worker that has it got it
    user_codes: tuple[int, ...] = ()
    text_token: int = 0  # of the answer, as what follows
    text_piece: str = ""
    moshi_codes: tuple[int, ...] = ()


class Ingress:
    """Decodes, frames, keeps the caller's clock and holds the bounded backlog.

    All times are seconds on one monotonic clock.
    """

    def __init__(self, source: AudioFormat, clock: CallerClock, counters: CallCounters, pending: PendingEvents) -> None:
        """source: what the packets are. counters and pending: kept up to date here."""
        self._decoder = AudioDecoder(source)
        self._assembler = FrameAssembler()
        self._clock = clock
        self._counters = counters
        self._pending = pending
        self.speech_frames = 0
        """Frames in a row that are loud enough for speech, up to now."""
        self._backlog: deque[UserFrame] = deque()  # bounded by the clock: it says what to drop

    def __len__(self) -> int:
        return len(self._backlog)

    @property
    def next_deadline_s(self) -> float:
        """When `fill` next has something to do."""
        return self._clock.next_deadline_s

    def hold_s(self, now_s: float) -> float:
        """How long the caller's next packet is to wait where it is, unless a frame is taken before; 0: not at all."""
        return self._clock.hold_s(now_s, len(self._backlog))

    def duration_s(self, data: bytes) -> float:
        """How much sound a packet holds; looks at no sample. Raises InvalidInput for parts of samples."""
        return self._decoder.duration_s(data)

    def feed(self, data: bytes, now_s: float, together: int = 0) -> int:
        """Takes a packet; returns how many frames it completed. Raises InvalidInput and changes nothing.

        together: how many frames the packets before it in the same message have completed.
        """
        frames = self._assembler.push(self._decoder.decode(data))
        self._counters.samples_in = self._decoder.samples_in
        for index, pcm in enumerate(frames, together):
            self._add(pcm, now_s, index)
        return len(frames)

    def fill(self, now_s: float) -> None:
        """Adds silence for every frame that the caller has missed; what they had begun to say leads the first one."""
        for _ in range(self._clock.due(now_s, len(self._backlog))):
            begun = self._assembler.flush()
            self._backlog.append(UserFrame(begun.samples if begun else _SILENCE, now_s))
            self._counters.frame_filled()
            self._pending.add(EventKind.FILLED, 1)
        self._counters.backlog(len(self._backlog))

    def end(self, now_s: float) -> int:
        """Completes with silence what the caller had begun when they hung up. Returns how many frames that is."""
        begun = self._assembler.flush(self._decoder.flush())
        if begun is None:
            return 0
        self._add(begun.samples, now_s)
        return 1

    def take(self) -> UserFrame:
        """The oldest waiting frame. Raises IndexError when none waits."""
        return self._backlog.popleft()

    def _add(self, pcm: Samples, now_s: float, together: int = 0) -> None:
        peak = float(np.abs(pcm).max())
        quiet = peak < _QUIET_PEAK
        self.speech_frames = self.speech_frames + 1 if peak >= _SPEECH_PEAK else 0
        drops = self._clock.on_frame(now_s, len(self._backlog), quiet, together)
        self._counters.frame_in()
        self._backlog.append(UserFrame(pcm, now_s))
        for dropped in range(drops):
            if quiet and not dropped:
                self._backlog.pop()  # nothing is missed of it; what waits before it may be speech
            else:
                self._backlog.popleft()
            self._counters.frame_dropped()
            self._pending.add(EventKind.DROPPED, 1)
        self._counters.backlog(len(self._backlog))
