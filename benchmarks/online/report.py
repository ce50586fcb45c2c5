"""Report of a load run: its figures, defined once; README.md beside this file says them in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.online.driver import Run
from benchmarks.online.processes import ProcessWatch
from benchmarks.online.quantiles import quantile, ratio
from benchmarks.online.record import OK, RESUMED, CallRecord
from benchmarks.online.timeline import Point, Replies, by_calls, by_second
from moshi_cluster.audio.frame import FRAME_S
from moshi_cluster.cluster.latency_table import Histogram

_AROUND_JOIN_S = 5.0


@dataclass(frozen=True)
class Spread:
    """Percentiles of `count` values, in milliseconds; nan of none."""

    count: int
    p50: float
    p99: float
    p999: float
    max: float

    @staticmethod
    def of_seconds(values_s: Iterable[float]) -> Spread:
        """From durations in seconds."""
        ms = 1000 * np.fromiter(values_s, dtype=np.float64)
        return Spread(ms.size, *(quantile(ms, q) for q in (0.5, 0.99, 0.999, 1.0)))


@dataclass(frozen=True)
class Calls:
    """How calls went."""

    made: int
    ok: int
    resumed: int  # lost, and went on in a further call, which is one of those made
    rejected: int
    failed: Mapping[str, int]  # by status
    disagreeing: int  # whose own counters at the gateway say something else than the caller saw
    setup_ms: Spread  # `start` sent to `started` there
    first_reply_ms: Spread  # `start` sent to the first reply audio there
    rejection_ms: Spread  # `start` sent to the status there


@dataclass(frozen=True)
class Frames:
    """What became of frames of 80 ms."""

    wanted: int  # sent in the calls that ended well, planned in those that did not
    sent: int
    answered: int  # reply frames that came, answers to filled ones included
    filled: int
    dropped: int
    reply_dropped: int
    deficit: int  # per call sent + filled - dropped - reply_dropped - answered; magnitudes added up
    unplaced: int  # answered, but it is open which frame they answer
    missed: int  # placed and with a turnaround above 80 ms
    missed_by_gateway: int  # turnaround above 80 ms by the gateway's own clock, unplaced ones included
    miss_ratio: float  # missed / (answered - unplaced)
    in_time_ratio: float  # answered in time / wanted, answers to filled ones left out


@dataclass(frozen=True)
class CallerFigures:
    """One caller, all their calls together."""

    caller: int
    calls: int
    outcomes: Sequence[str]
    turnaround_ms: Spread
    missed: int
    underruns: int
    gaps: int
    deficit: int


@dataclass(frozen=True)
class HopLatency:
    """One histogram of the services, over the run."""

    frames: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ProcessUsage:
    """One service process, over the run."""

    cpu_s: float
    core_ratio: float  # of one core
    core_ratio_per_call: float
    resident_bytes: Sequence[int]  # sampled once a second


@dataclass(frozen=True)
class Driver:
    """The load driver itself."""

    lateness_ms: Spread  # of sending a packet, after its time on the schedule
    cpu_s: float
    core_ratio: float
    others_core_ratio: float  # cores of this machine that neither the driver nor the watched services used


@dataclass(frozen=True)
class BurstJoin:
    """Turnaround of the calls that were up before others joined all at once."""

    before_ms: Spread  # in the seconds before
    after_ms: Spread  # in the seconds after
    seconds: float


@dataclass(frozen=True)
class LoadReport:
    """Everything that is measured."""

    seconds: float
    call_seconds: float  # calls times the time that they were up
    stopped_because: str
    calls: Calls
    frames: Frames
    turnaround_ms: Spread
    underruns: int
    gaps: int
    callers: Sequence[CallerFigures]
    driver: Driver
    hops: Mapping[str, HopLatency]
    processes: Mapping[str, ProcessUsage]
    burst_join: BurstJoin | None
    over_time: Sequence[Point]
    by_calls: Sequence[Point]


def make_report(run: Run, hops: Mapping[str, Histogram], watch: ProcessWatch) -> LoadReport:
    """From what the calls recorded, and what was measured beside them."""
    records, seconds = run.records, run.end_s - run.begin_s
    processes = _processes(watch, seconds, call_seconds(records))
    return LoadReport(
        seconds=seconds,
        call_seconds=call_seconds(records),
        stopped_because=run.stopped_because,
        calls=_calls(records),
        frames=count_frames(records),
        turnaround_ms=Spread.of_seconds(Replies.of(records).turnaround_s),
        underruns=sum(record.playback.underruns for record in records),
        gaps=sum(record.gaps for record in records),
        callers=_per_caller(records),
        driver=_driver(run, sum(process.cpu_s for process in processes.values())),
        hops={row: _hop(histogram) for row, histogram in hops.items()},
        processes=processes,
        burst_join=_burst_join(records),
        over_time=by_second(records, run.begin_s),
        by_calls=by_calls(records),
    )


def _hop(histogram: Histogram) -> HopLatency:
    return HopLatency(histogram.count, 1000 * histogram.quantile(0.5), 1000 * histogram.quantile(0.99))


def _processes(watch: ProcessWatch, seconds: float, total_call_s: float) -> dict[str, ProcessUsage]:
    return {
        name: ProcessUsage(cpu_s, ratio(cpu_s, seconds), ratio(cpu_s, total_call_s), watch.resident_bytes[name])
        for name, cpu_s in watch.used_cpu_s().items()
    }


def _driver(run: Run, services_cpu_s: float) -> Driver:
    seconds = run.end_s - run.begin_s
    lateness_s = Spread.of_seconds(late_s for record in run.records for late_s in record.lateness_s)
    others_cpu_s = run.machine_cpu_s - run.driver_cpu_s - services_cpu_s
    return Driver(lateness_s, run.driver_cpu_s, ratio(run.driver_cpu_s, seconds), ratio(others_cpu_s, seconds))


def call_seconds(records: Iterable[CallRecord]) -> float:
    """How long calls were up, added up."""
    return sum(record.ended_s - record.started_s for record in records if record.started_s is not None)


def count_frames(records: Sequence[CallRecord]) -> Frames:
    """Adds up what became of every frame."""
    answered = sum(record.reply_frames for record in records)
    filled = sum(record.matcher.filled for record in records)
    unplaced = sum(record.matcher.unplaced for record in records)
    missed = [_missed(record) for record in records]
    by_gateway = [record.counters.frames_late if record.counters else 0 for record in records]
    wanted = sum(record.frames_sent if record.outcome in (OK, RESUMED) else record.plan.frames for record in records)
    late_at_most = sum(map(max, missed, by_gateway))
    return Frames(
        wanted=wanted,
        sent=sum(record.frames_sent for record in records),
        answered=answered,
        filled=filled,
        dropped=sum(record.matcher.dropped for record in records),
        reply_dropped=sum(record.reply_dropped for record in records),
        deficit=sum(abs(record.deficit) for record in records),
        unplaced=unplaced,
        missed=sum(missed),
        missed_by_gateway=sum(by_gateway),
        miss_ratio=ratio(sum(missed), answered - unplaced),
        in_time_ratio=ratio(max(0, answered - filled - late_at_most), wanted),
    )


def _missed(record: CallRecord) -> int:
    return sum(turnaround_s > FRAME_S for turnaround_s in record.matcher.turnaround_s)


def _calls(records: Sequence[CallRecord]) -> Calls:
    rejected = [record for record in records if record.rejected]
    failed = Counter(
        record.outcome for record in records if record.outcome not in (OK, RESUMED) and not record.rejected
    )
    started = [(record.started_s, record) for record in records if record.started_s is not None]
    replied = [(record.first_reply_s, record) for record in records if record.first_reply_s is not None]
    return Calls(
        made=len(records),
        ok=sum(record.outcome == OK for record in records),
        resumed=sum(record.outcome == RESUMED for record in records),
        rejected=len(rejected),
        failed=dict(failed),
        disagreeing=sum(not record.agrees for record in records),
        setup_ms=Spread.of_seconds(at_s - record.opened_s for at_s, record in started),
        first_reply_ms=Spread.of_seconds(at_s - record.opened_s for at_s, record in replied),
        rejection_ms=Spread.of_seconds(record.ended_s - record.opened_s for record in rejected),
    )


def _per_caller(records: Sequence[CallRecord]) -> list[CallerFigures]:
    own: dict[int, list[CallRecord]] = {}
    for record in records:
        own.setdefault(record.plan.caller, []).append(record)
    return [
        CallerFigures(
            caller=caller,
            calls=len(calls),
            outcomes=sorted({record.outcome for record in calls}),
            turnaround_ms=Spread.of_seconds(Replies.of(calls).turnaround_s),
            missed=sum(map(_missed, calls)),
            underruns=sum(record.playback.underruns for record in calls),
            gaps=sum(record.gaps for record in calls),
            deficit=sum(abs(record.deficit) for record in calls),
        )
        for caller, calls in sorted(own.items())
    ]


def _burst_join(records: Sequence[CallRecord]) -> BurstJoin | None:
    joins_s = [record.opened_s for record in records if record.plan.joins_in_burst]
    if not joins_s:
        return None
    replies = Replies.of([record for record in records if not record.plan.joins_in_burst])
    join_s = min(joins_s)
    return BurstJoin(
        before_ms=Spread.of_seconds(replies.between(join_s - _AROUND_JOIN_S, join_s)),
        after_ms=Spread.of_seconds(replies.between(join_s, join_s + _AROUND_JOIN_S)),
        seconds=_AROUND_JOIN_S,
    )
