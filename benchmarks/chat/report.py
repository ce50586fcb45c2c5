"""Report of a client mix, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.chat.client_trace import ClientTrace
from benchmarks.columns import columns

_COUNTERS = ("frames_filled", "frames_dropped", "frames_late", "reply_frames_dropped")


def table(traces: Sequence[ClientTrace]) -> str:
    """One line a client."""
    rows: list[tuple[str, ...]] = [
        ("client", "position", "waited", "said", "heard", "filled", "dropped", "late", "unsent", "turnaround")
    ]
    rows += [_row(trace) for trace in traces]
    return columns(rows)


def summary(traces: Sequence[ClientTrace], faults: Sequence[str]) -> str:
    """A sentence."""
    served = [trace for trace in traces if trace.ready_s is not None and not trace.failure]
    queued = [trace for trace in served if trace.first_position]
    line = f"{len(served)} of {len(traces)} served, {len(queued)} of them after waiting in the queue"
    return f"{line}; {len(faults)} faults" if faults else f"{line}; every frame accounted for"


def as_json(traces: Sequence[ClientTrace], faults: Sequence[str]) -> dict[str, Any]:
    """Everything."""
    return {"summary": summary(traces, faults), "faults": list(faults), "clients": [asdict(each) for each in traces]}


def _row(trace: ClientTrace) -> tuple[str, ...]:
    waited = "never" if trace.waited_s is None else f"{trace.waited_s:.1f} s"
    counters = [str(trace.counters[name]) if name in trace.counters else "-" for name in _COUNTERS]
    turnaround = f"{median(trace.turnarounds_ms):.0f} ms" if trace.turnarounds_ms else "-"
    return (
        trace.name,
        str(trace.first_position or "-"),
        waited,
        str(trace.said_frames),
        f"{trace.heard_frames:g}",
        *counters,
        turnaround,
    )
