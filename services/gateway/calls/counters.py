"""Counters of a call: its frames, samples and turnarounds, counted here once for the caller and the metrics alike."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

from moshi_cluster.audio.frame import FRAME_S
from moshi_cluster.services.gateway.metrics import GatewayMetrics

_BIN_S = 0.0005
_BINS = 4000  # the last one holds everything from 2 s on


@dataclass
class LatencySketch:
    """Percentiles of a stream of durations in constant space, to half a millisecond."""

    _counts: array[int] = field(default_factory=lambda: array("Q", bytes(array("Q").itemsize * _BINS)))
    _total: int = 0

    def add(self, seconds: float) -> None:
        """Takes one duration."""
        self._counts[min(int(seconds / _BIN_S), _BINS - 1)] += 1
        self._total += 1

    def quantile_s(self, q: float) -> float:
        """The upper edge of the bin in which the quantile lies; 0 when nothing was added."""
        if not self._total:
            return 0.0
        rank = max(1, -(-self._total * q // 1))
        # Not a loop over the bins: a caller may ask hundreds of times a second.
        up_to = np.cumsum(np.frombuffer(self._counts, np.uint64))
        return float(np.searchsorted(up_to, rank) + 1) * _BIN_S


class CallCounters:
    """What has happened to a call so far, under the names and with the meanings of the public contract.

    frames_in + frames_filled - frames_dropped = frames stepped + frames waiting, always.
    """

    def __init__(self, metrics: GatewayMetrics) -> None:
        """metrics: count the frames of all calls together."""
        self.frames_in = self.frames_out = 0
        self.frames_filled = self.frames_dropped = self.frames_late = 0
        self.reply_frames_dropped = 0
        self.moves = 0
        self.backlog_frames_max = 0
        self.samples_in = self.samples_out = 0
        self.turnaround = LatencySketch()
        self._all_calls = metrics.frames

    def frame_in(self) -> None:
        """Counts a frame that the caller completed."""
        self.frames_in += 1
        self._all_calls["in"].inc()

    def frame_filled(self) -> None:
        """Counts a frame of silence in the caller's place."""
        self.frames_filled += 1
        self._all_calls["filled"].inc()

    def frame_dropped(self) -> None:
        """Counts a caller's frame that the model will not hear."""
        self.frames_dropped += 1
        self._all_calls["dropped"].inc()

    def backlog(self, frames: int) -> None:
        """Notes how many of the caller's frames wait."""
        self.backlog_frames_max = max(self.backlog_frames_max, frames)

    def frame_out(self, turnaround_s: float) -> None:
        """Counts a reply frame that has left; one that took longer than a frame is late."""
        self.frames_out += 1
        self._all_calls["out"].inc()
        self.turnaround.add(turnaround_s)
        if turnaround_s > FRAME_S:
            self.frames_late += 1
            self._all_calls["late"].inc()

    def reply_dropped(self, frames: int) -> None:
        """Counts reply frames that will never leave."""
        self.reply_frames_dropped += frames
        self._all_calls["reply_dropped"].inc(frames)
