"""Live figures of a run: those of the last seconds."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.online.caller import Caller
from benchmarks.online.quantiles import quantile, ratio
from benchmarks.online.record import OK, RESUMED
from moshi_cluster.audio.frame import FRAME_S


@dataclass(frozen=True)
class Moment:
    """The last seconds of a run."""

    elapsed_s: float
    calls_up: int
    calls_over: int
    rejected: int
    failed: int
    p50_s: float
    p99_s: float
    late_ratio: float
    lateness_p99_s: float  # of the driver's sending


class LiveView:
    """Figures of the callers so far; costs a pass over the last seconds only."""

    def __init__(self, begin_s: float, callers: Sequence[Caller]) -> None:
        self.begin_s = begin_s
        self.callers = callers

    def last(self, seconds: float) -> Moment:
        """What happened in the last `seconds`."""
        now_s = time.monotonic()
        records = [caller.record for caller in self.callers]
        turnaround_s = _join(
            record.matcher.turnaround_s[bisect_left(record.matcher.arrived_s, now_s - seconds) :] for record in records
        )
        packets = round(1000 * seconds / records[0].line.packet_ms) if records else 0
        lateness_s = _join(caller.record.lateness_s[-packets:] for caller in self.callers if caller.is_up)
        over = [record for record in records if record.is_over]
        rejected = sum(record.rejected for record in over)
        return Moment(
            elapsed_s=now_s - self.begin_s,
            calls_up=sum(caller.is_up for caller in self.callers),
            calls_over=len(over),
            rejected=rejected,
            failed=sum(record.outcome not in (OK, RESUMED) for record in over) - rejected,
            p50_s=quantile(turnaround_s, 0.5),
            p99_s=quantile(turnaround_s, 0.99),
            late_ratio=ratio(int((turnaround_s > FRAME_S).sum()), turnaround_s.size),
            lateness_p99_s=quantile(lateness_s, 0.99),
        )


def _join(parts: Iterable[array[float]]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *(np.frombuffer(part) for part in parts if len(part))])
