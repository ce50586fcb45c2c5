"""A call's figures."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from moshi_cluster.audio.pcm import FRAME_S
from moshi_cluster.v1 import gateway_pb2

_BIN_S = 0.0005
_BINS = 4000  # the last one holds everything from 2 s on


@dataclass
class LatencySketch:
    """Percentiles of a stream of durations in constant space, to half a millisecond."""

    _counts: array[int] = field(default_factory=lambda: array("L", bytes(array("L").itemsize * _BINS)))
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
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return (index + 1) * _BIN_S
        raise AssertionError("unreachable: the counts add up to the total")


@dataclass
class CallCounters:
    """What has happened to a call so far; names and meanings as in the public contract."""

    frames_in: int = 0
    frames_out: int = 0
    frames_filled: int = 0
    frames_dropped: int = 0
    frames_late: int = 0
    reply_frames_dropped: int = 0
    moves: int = 0
    backlog_frames_max: int = 0
    samples_in: int = 0
    samples_out: int = 0
    turnaround: LatencySketch = field(default_factory=LatencySketch)

    def answered(self, turnaround_s: float) -> None:
        """Counts a reply frame that has left."""
        self.frames_out += 1
        self.turnaround.add(turnaround_s)
        if turnaround_s > FRAME_S:
            self.frames_late += 1

    def message(self) -> gateway_pb2.Counters:
        """The figures as the caller gets them."""
        return gateway_pb2.Counters(
            frames_in=self.frames_in,
            frames_out=self.frames_out,
            frames_filled=self.frames_filled,
            frames_dropped=self.frames_dropped,
            frames_late=self.frames_late,
            reply_frames_dropped=self.reply_frames_dropped,
            moves=self.moves,
            backlog_frames_max=self.backlog_frames_max,
            turnaround_p50_us=round(self.turnaround.quantile_s(0.5) * 1e6),
            turnaround_p99_us=round(self.turnaround.quantile_s(0.99) * 1e6),
            samples_in=self.samples_in,
            samples_out=self.samples_out,
        )
