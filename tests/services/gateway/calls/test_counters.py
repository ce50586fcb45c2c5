"""A call's figures: percentiles to half a millisecond, counts as the contract names them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.gateway.calls.counters import CallCounters, LatencySketch
from moshi_cluster.v1 import gateway_pb2

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


def test_a_frame_is_late_when_it_took_longer_than_a_frame() -> None:
    counters = CallCounters()
    for turnaround_s in (0.079, 0.080, 0.0801, 0.2):
        counters.answered(turnaround_s)
    assert (counters.frames_out, counters.frames_late) == (4, 2)


def test_the_message_has_every_figure_under_its_own_name() -> None:
    counts = [field.name for field in gateway_pb2.Counters.DESCRIPTOR.fields if not field.name.startswith("turnaround")]
    counters = CallCounters(**{name: index for index, name in enumerate(counts, start=1)})
    for milliseconds in range(1, 101):
        counters.turnaround.add(milliseconds / 1000 - 0.0001)
    message = counters.message()
    assert [getattr(message, name) for name in counts] == list(range(1, len(counts) + 1))
    assert (message.turnaround_p50_us, message.turnaround_p99_us) == (50_000, 99_000)
