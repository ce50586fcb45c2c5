"""Limits that a run has to keep to; broken ones give an exit status that a pipeline can act on."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.online.live import LiveView
from benchmarks.online.report import LoadReport
from moshi_cluster.audio.frame import FRAME_MS

_RAMP_MAX_P99_MS = float(FRAME_MS)


@dataclass(frozen=True)
class Limits:
    """None: not checked."""

    max_p99_ms: float | None = None
    max_miss_ratio: float | None = None
    max_deficit_frames: int | None = None
    max_unserved_calls: int | None = None

    def broken(self, report: LoadReport) -> list[str]:
        """A sentence for each limit that the run did not keep to. A figure that there is none of keeps to no limit."""
        frames, calls = report.frames, report.calls
        checks = (
            ("turnaround p99, ms", report.turnaround_ms.p99, self.max_p99_ms),
            ("deadline misses, share of reply frames", frames.miss_ratio, self.max_miss_ratio),
            ("frame deficit", frames.deficit, self.max_deficit_frames),
            ("calls refused or failed", calls.rejected + sum(calls.failed.values()), self.max_unserved_calls),
        )
        # Written so that nan is broken.
        return [
            f"{name}: {value:g} > {limit:g}"
            for name, value, limit in checks
            if limit is not None and not value <= limit
        ]

    def ramp_is_over(self, view: LiveView, step_s: float) -> str:
        """Why no further caller should join, or nothing."""
        moment = view.last(step_s)
        max_p99_ms = _RAMP_MAX_P99_MS if self.max_p99_ms is None else self.max_p99_ms
        if moment.rejected or moment.failed:
            return f"{moment.rejected + moment.failed} calls refused or failed with {moment.calls_up} up"
        if moment.p99_s * 1000 > max_p99_ms:
            return f"turnaround p99 {moment.p99_s * 1000:.0f} ms with {moment.calls_up} calls up"
        if self.max_miss_ratio is not None and moment.late_ratio > self.max_miss_ratio:
            return f"{moment.late_ratio:.2%} of reply frames late with {moment.calls_up} calls up"
        return ""
