"""Timeline of a run: reply frames over time and against the number of calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.online.quantiles import quantile, ratio
from benchmarks.online.record import CallRecord
from moshi_cluster.audio.frame import FRAME_S

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """The reply frames of one second, or those that came while so many calls were up."""

    at: float  # seconds from the start of the run, or calls
    calls: int
    frames: int
    p50_ms: float
    p99_ms: float
    miss_ratio: float


@dataclass(frozen=True)
class Replies:
    """All placed reply frames of some calls."""

    arrived_s: Times
    turnaround_s: Times

    @staticmethod
    def of(records: Sequence[CallRecord]) -> Replies:
        """In no particular order."""
        matchers = [record.matcher for record in records]
        return Replies(
            np.concatenate([np.zeros(0), *(np.array(matcher.arrived_s) for matcher in matchers)]),
            np.concatenate([np.zeros(0), *(np.array(matcher.turnaround_s) for matcher in matchers)]),
        )

    def between(self, begin_s: float, end_s: float) -> Times:
        """Turnaround of those that came in [begin_s, end_s)."""
        return self.turnaround_s[(self.arrived_s >= begin_s) & (self.arrived_s < end_s)]


def calls_up_at(records: Sequence[CallRecord], times_s: Times) -> NDArray[np.int64]:
    """How many calls were up at each time."""
    started = [record for record in records if record.started_s is not None]
    begins = np.sort(np.array([record.started_s for record in started], dtype=np.float64))
    ends = np.sort(np.array([record.ended_s for record in started], dtype=np.float64))
    return np.searchsorted(begins, times_s, "right") - np.searchsorted(ends, times_s, "right")


def by_second(records: Sequence[CallRecord], begin_s: float) -> list[Point]:
    """One point for each second in which replies came."""
    replies = Replies.of(records)
    seconds = np.floor(replies.arrived_s - begin_s)
    calls = calls_up_at(records, begin_s + np.unique(seconds) + 0.5)
    return [
        _point(second, int(up), replies.turnaround_s[seconds == second])
        for second, up in zip(np.unique(seconds).tolist(), calls, strict=True)
    ]


def by_calls(records: Sequence[CallRecord]) -> list[Point]:
    """One point for each number of calls that were up when replies came."""
    replies = Replies.of(records)
    calls = calls_up_at(records, replies.arrived_s)
    return [_point(up, up, replies.turnaround_s[calls == up]) for up in np.unique(calls).tolist()]


def _point(at: float, calls: int, turnaround_s: Times) -> Point:
    return Point(
        at=at,
        calls=calls,
        frames=turnaround_s.size,
        p50_ms=1000 * quantile(turnaround_s, 0.5),
        p99_ms=1000 * quantile(turnaround_s, 0.99),
        miss_ratio=ratio(int((turnaround_s > FRAME_S).sum()), turnaround_s.size),
    )
