"""Terminal table of a report."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.columns import columns
from benchmarks.online.hops import in_order
from benchmarks.online.report import LoadReport, Spread

_SLOW_DRIVER_MS = 5.0
_BUSY_CORES = 0.2


def text_of(report: LoadReport) -> str:
    """The final table."""
    parts = [_spreads(report), _callers(report), _calls_table(report), _hops(report), _processes(report)]
    parts += ["\n".join(f"{name:<22} {value}" for name, value in _lines(report))]
    return "\n\n".join(part for part in parts if part)


def _spreads(report: LoadReport) -> str:
    rows = [
        ("turnaround", report.turnaround_ms),
        ("start to started", report.calls.setup_ms),
        ("start to first reply", report.calls.first_reply_ms),
        ("start to refusal", report.calls.rejection_ms),
        ("driver's lateness", report.driver.lateness_ms),
    ]
    if report.burst_join:
        rows.insert(1, (f"  {report.burst_join.seconds:g} s before the join", report.burst_join.before_ms))
        rows.insert(2, (f"  {report.burst_join.seconds:g} s after the join", report.burst_join.after_ms))
    header = ("ms", "p50", "p99", "p99.9", "max", "count")
    return columns([header, *((name, *_cells(spread)) for name, spread in rows if spread.count)])


def _callers(report: LoadReport) -> str:
    header = ("caller", "calls", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "replies", "missed", "underruns", "deficit")
    rows = [
        (
            str(one.caller),
            str(one.calls),
            *_cells(one.turnaround_ms),
            str(one.missed),
            str(one.underruns),
            str(one.deficit),
        )
        for one in report.callers
    ]
    return columns([header, *rows])


def _calls_table(report: LoadReport) -> str:
    rows = [
        (str(point.calls), f"{point.p50_ms:.1f}", f"{point.p99_ms:.1f}", f"{point.miss_ratio:.3%}", str(point.frames))
        for point in report.by_calls
    ]
    return columns([("calls up", "p50 ms", "p99 ms", "missed", "replies"), *rows])


def _hops(report: LoadReport) -> str:
    rows = [
        (row, f"{hop.p50_ms:.1f}", f"{hop.p99_ms:.1f}", str(hop.frames))
        for row, hop in ((row, report.hops[row]) for row in in_order(report.hops))
    ]
    return columns([("hop, by the services", "p50 ms", "p99 ms", "count"), *rows]) if rows else ""


def _processes(report: LoadReport) -> str:
    rows = [
        (
            name,
            f"{one.cpu_s:.1f}",
            f"{one.core_ratio:.0%}",
            f"{one.core_ratio_per_call:.2%}",
            f"{one.resident_bytes[0] / 1e6:.0f}",
            f"{one.resident_bytes[-1] / 1e6:.0f}",
        )
        for name, one in report.processes.items()
    ]
    header = ("process", "CPU s", "of a core", "per call", "MB at begin", "MB at end")
    return columns([header, *rows]) if rows else ""


def _lines(report: LoadReport) -> Iterable[tuple[str, str]]:
    calls, frames = report.calls, report.frames
    failed = ", ".join(f"{count} {status}" for status, count in calls.failed.items()) or "none"
    resumed = f"{calls.resumed} lost and resumed, " if calls.resumed else ""
    yield "calls", f"{calls.made} made, {calls.ok} ended well, {resumed}{calls.rejected} refused, failed: {failed}"
    yield (
        "frames",
        f"{frames.wanted} wanted, {frames.sent} sent, {frames.answered} answered, {frames.filled} filled, "
        f"{frames.dropped} dropped, {frames.reply_dropped} replies dropped",
    )
    yield "frame deficit", str(frames.deficit)
    yield (
        "deadline misses",
        f"{frames.missed} of {frames.answered - frames.unplaced} placed replies ({frames.miss_ratio:.3%}); "
        f"{frames.unplaced} unplaced; {frames.missed_by_gateway} by the gateway's clock",
    )
    yield "in time of wanted", f"{frames.in_time_ratio:.3%}"
    yield "underruns, gaps", f"{report.underruns} at a 100 ms buffer, {report.gaps} gaps in the reply"
    yield "counters disagree", f"{calls.disagreeing} calls"
    yield "driver's CPU", f"{report.driver.cpu_s:.1f} s, {report.driver.core_ratio:.0%} of a core"
    if report.driver.lateness_ms.p99 > _SLOW_DRIVER_MS:
        yield "CAUTION", "the driver itself was late: part of the latency may be its own"
    if report.processes and report.driver.others_core_ratio > _BUSY_CORES:
        yield "CAUTION", f"other programs used {report.driver.others_core_ratio:.2f} cores meanwhile"
    if report.stopped_because:
        yield "stopped because", report.stopped_because


def _cells(spread: Spread) -> tuple[str, ...]:
    return (*(f"{value:.1f}" for value in (spread.p50, spread.p99, spread.p999, spread.max)), str(spread.count))
