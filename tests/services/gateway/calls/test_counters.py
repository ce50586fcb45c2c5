"""Counters of a call: percentiles to half a millisecond, every count the same for the caller and the metrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from moshi_cluster.services.gateway.calls.counters import CallCounters, LatencySketch
from moshi_cluster.services.gateway.metrics import GatewayMetrics

BIN_S = 0.0005


@given(
    seconds=st.lists(st.floats(0, 1.999), min_size=1, max_size=300),
    q=st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0]),
)
def test_a_quantile_is_that_of_the_durations_within_a_bin(seconds: list[float], q: float) -> None:
    sketch = LatencySketch()
    for duration in seconds:
        sketch.add(duration)
    exact = np.quantile(seconds, q, method="inverted_cdf")
    assert exact <= sketch.quantile_s(q) + 1e-12
    assert sketch.quantile_s(q) <= exact + BIN_S + 1e-12


def test_without_durations_a_quantile_is_zero() -> None:
    assert LatencySketch().quantile_s(0.99) == 0.0


def test_everything_beyond_two_seconds_is_two_seconds() -> None:
    sketch = LatencySketch()
    sketch.add(3600.0)
    assert sketch.quantile_s(0.5) == pytest.approx(2.0)


@pytest.fixture
def counters() -> CallCounters:
    return CallCounters(GatewayMetrics(CollectorRegistry()))


def test_a_frame_is_late_when_it_took_longer_than_a_frame(counters: CallCounters) -> None:
    for turnaround_s in (0.079, 0.080, 0.0801, 0.2):
        counters.frame_out(turnaround_s)
    assert (counters.frames_out, counters.frames_late) == (4, 2)
    assert counters.turnaround.quantile_s(1.0) == pytest.approx(0.2, abs=2 * BIN_S)


def test_the_largest_backlog_is_kept(counters: CallCounters) -> None:
    for frames in (2, 5, 0, 3):
        counters.backlog(frames)
    assert counters.backlog_frames_max == 5


HAPPENINGS = ["frame_in", "frame_filled", "frame_dropped", "in_time", "late", "reply_dropped"]


@given(happened=st.lists(st.sampled_from(HAPPENINGS), max_size=50))
def test_what_is_counted_for_the_caller_is_counted_for_the_metrics(happened: list[str]) -> None:
    registry = CollectorRegistry()
    counters = CallCounters(GatewayMetrics(registry))
    for what in happened:
        if what in ("in_time", "late"):
            counters.frame_out(0.01 if what == "in_time" else 0.1)
        elif what == "reply_dropped":
            counters.reply_dropped(3)
        else:
            getattr(counters, what)()
    for kind, frames in {
        "in": counters.frames_in,
        "out": counters.frames_out,
        "filled": counters.frames_filled,
        "dropped": counters.frames_dropped,
        "late": counters.frames_late,
        "reply_dropped": counters.reply_frames_dropped,
    }.items():
        assert registry.get_sample_value("moshi_gateway_frames_total", {"kind": kind}) == frames, kind
    assert counters.frames_in == happened.count("frame_in")
    assert counters.frames_filled == happened.count("frame_filled")
    assert counters.frames_dropped == happened.count("frame_dropped")
    assert counters.frames_out == happened.count("in_time") + happened.count("late")
    assert counters.frames_late == happened.count("late")
    assert counters.reply_frames_dropped == 3 * happened.count("reply_dropped")
