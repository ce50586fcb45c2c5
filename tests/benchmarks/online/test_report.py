"""What is counted, and what it is divided by."""

from __future__ import annotations

import json
import math
from array import array
from pathlib import Path

import pytest

from benchmarks.online.driver import Run
from benchmarks.online.export import write_json
from benchmarks.online.limits import Limits
from benchmarks.online.matching import FrameMatcher
from benchmarks.online.picture import write_picture
from benchmarks.online.playback import SimulatedPlayback
from benchmarks.online.processes import ProcessWatch
from benchmarks.online.record import CallRecord
from benchmarks.online.report import LoadReport, count_frames, make_report
from benchmarks.online.scenarios import PlannedCall
from benchmarks.online.speech import LineFormat
from benchmarks.online.table import text_of
from moshi_cluster.v1 import gateway_pb2

LINE = LineFormat("mulaw", 8000, 20, 20)


def call(
    turnaround_s: list[float],
    caller: int = 0,
    start_s: float = 0.0,
    told: gateway_pb2.Counters | None = None,
    filled: int = 0,
    dropped: int = 0,
) -> CallRecord:
    """A call that ended well; `turnaround_s` of every reply, one frame each."""
    frames = len(turnaround_s) - filled + dropped
    record = CallRecord(PlannedCall(caller, start_s, frames), LINE, FrameMatcher(8000, 160), SimulatedPlayback(), "OK")
    record.opened_s, record.started_s, record.first_reply_s = start_s, start_s + 0.05, start_s + 0.2
    record.ended_s = start_s + 0.08 * frames + 0.1
    record.matcher.sent_s.extend([0.0] * (4 * frames))
    record.matcher.turnaround_s = array("d", turnaround_s)
    record.matcher.arrived_s = array("d", [start_s + 0.08 * (index + 1) for index in range(len(turnaround_s))])
    record.matcher.filled, record.matcher.dropped = filled, dropped
    record.reply_frames, record.reply_samples = len(turnaround_s), 640 * len(turnaround_s)
    record.lateness_s = array("d", [0.001] * (4 * frames))
    record.counters = told
    return record


def refused(caller: int = 9, frames: int = 100, status: str = "RESOURCE_EXHAUSTED") -> CallRecord:
    record = CallRecord(PlannedCall(caller, 0.0, frames), LINE, FrameMatcher(8000, 160), SimulatedPlayback(), status)
    record.opened_s, record.ended_s = 1.0, 1.02
    return record


def report_of(*records: CallRecord) -> LoadReport:
    return make_report(Run(0.0, 10.0, records, 1.0, 1.5, ""), {}, ProcessWatch({}))


def test_misses_are_a_share_of_the_replies_that_came() -> None:
    frames = count_frames([call([0.05] * 99 + [0.081]), call([0.08] * 100, caller=1)])
    assert (frames.missed, frames.answered, frames.deficit) == (1, 200, 0)
    assert frames.miss_ratio == pytest.approx(1 / 200)


def test_the_refused_stay_in_the_denominator() -> None:
    frames = count_frames([call([0.05] * 100), refused(frames=100), refused(frames=200, status="UNAVAILABLE")])
    assert frames.wanted == 400
    assert frames.in_time_ratio == pytest.approx(0.25)
    calls = report_of(call([0.05] * 100), refused(), refused(status="UNAVAILABLE")).calls
    assert (calls.made, calls.ok, calls.rejected, calls.failed) == (3, 1, 1, {"UNAVAILABLE": 1})
    assert calls.rejection_ms.p99 == pytest.approx(20)


def test_unplaced_replies_are_in_no_share_of_misses() -> None:
    record = call([0.1, 0.05])
    record.matcher.unplaced, record.reply_frames = 3, 5
    assert count_frames([record]).miss_ratio == pytest.approx(1 / 2)


def test_late_by_the_gateways_clock_is_not_in_time_even_where_the_caller_cannot_tell() -> None:
    told = gateway_pb2.Counters(frames_in=100, frames_late=7)
    assert count_frames([call([0.05] * 100, told=told)]).in_time_ratio == pytest.approx(0.93)


def test_what_is_filled_in_is_answered_but_serves_nobody() -> None:
    told = gateway_pb2.Counters(frames_in=90, frames_filled=10, samples_in=640 * 90)
    frames = count_frames([call([0.05] * 100, filled=10, told=told)])
    assert (frames.deficit, frames.in_time_ratio) == (0, 1.0)


def test_what_is_dropped_and_told_is_no_deficit_but_was_not_in_time() -> None:
    frames = count_frames([call([0.05] * 95, dropped=5)])
    assert (frames.deficit, frames.in_time_ratio) == (0, 0.95)


def test_a_frame_without_an_answer_is_a_deficit_and_no_surplus_elsewhere_hides_it() -> None:
    short, long = call([0.05] * 100), call([0.05] * 100)
    short.reply_frames, long.reply_frames = 99, 101
    assert count_frames([short, long]).deficit == 2


def test_packets_that_never_arrived_are_a_deficit_also_where_the_gateway_counts_frames() -> None:
    told = gateway_pb2.Counters(frames_in=90, frames_filled=10, samples_in=640 * 90)
    record = call([0.05] * 100, filled=10, told=told)
    record.matcher.sent_s.extend([0.0] * 4)
    assert record.deficit == 1
    assert not record.agrees


def test_counters_that_say_something_else_are_counted() -> None:
    told = gateway_pb2.Counters(frames_in=100, frames_out=100, samples_in=64_000, samples_out=64_000)
    wrong = gateway_pb2.Counters(frames_in=100, frames_out=99, samples_in=64_000, samples_out=64_000)
    calls = report_of(call([0.05] * 100, told=told), call([0.05] * 100, told=wrong)).calls
    assert calls.disagreeing == 1


def test_latency_against_calls_uses_the_calls_that_were_up_when_the_reply_came() -> None:
    report = report_of(call([0.02] * 50), call([0.06] * 25, caller=1, start_s=2.0))
    points = {point.calls: point for point in report.by_calls}
    assert set(points) == {1, 2}
    assert points[1].p99_ms == pytest.approx(20)
    assert points[2].p99_ms == pytest.approx(60)
    assert sum(point.frames for point in report.by_calls) == sum(point.frames for point in report.over_time) == 75


def test_a_burst_join_compares_the_runners_before_and_after() -> None:
    runner, joiner = call([0.02] * 50 + [0.07] * 50), call([0.5] * 10, caller=1)
    joiner.plan = PlannedCall(1, 4.04, 10, joins_in_burst=True)
    joiner.opened_s = 4.04
    join = report_of(runner, joiner).burst_join
    assert join is not None
    assert (join.before_ms.p99, join.after_ms.p99) == (pytest.approx(20), pytest.approx(70))


def test_limits_are_broken_by_what_is_above_them_and_by_what_is_not_there() -> None:
    good = report_of(call([0.05] * 100))
    limits = Limits(max_p99_ms=60, max_miss_ratio=0.001, max_deficit_frames=0, max_unserved_calls=0)
    assert limits.broken(good) == []
    assert len(limits.broken(report_of(call([0.09] * 100)))) == 2
    assert len(limits.broken(report_of(refused()))) == 3
    assert Limits().broken(report_of(refused())) == []


def test_a_report_is_written_as_text_as_json_without_nan_and_as_a_picture(tmp_path: Path) -> None:
    report = report_of(call([0.05] * 100), refused())
    assert "0 of 100 placed replies" in text_of(report)
    write_json(tmp_path / "report.json", report, {"scenario": "steady"})
    content = json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert content["settings"] == {"scenario": "steady"}
    assert content["report"]["frames"]["wanted"] == 200
    write_picture(tmp_path / "report.svg", report, "a run")
    assert "<svg" in (tmp_path / "report.svg").read_text()


def test_a_run_without_calls_still_has_a_report() -> None:
    report = report_of()
    assert math.isnan(report.turnaround_ms.p99)
    assert text_of(report)
