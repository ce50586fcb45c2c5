"""Quantiles from a service's own histograms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as LiveHistogram

from moshi_cluster.cluster.latency_table import Histogram, histograms, table

BUCKETS = (0.01, 0.02, 0.05, 0.1)


def _scraped(observations_s: list[float]) -> dict[str, Histogram]:
    registry = CollectorRegistry()
    live = LiveHistogram("hop_seconds", "Help.", ("hop",), buckets=BUCKETS, registry=registry)
    for observed_s in observations_s:
        live.labels("lm").observe(observed_s)
    return histograms(generate_latest(registry).decode(), "hop_seconds", "hop")


def test_a_quantile_is_interpolated_inside_its_bucket() -> None:
    histogram = Histogram([0.01, 0.02, math.inf], [0, 10, 10])
    assert histogram.quantile(0.5) == pytest.approx(0.015)
    assert histogram.quantile(1.0) == pytest.approx(0.02)


def test_beyond_the_last_bound_the_last_bound_is_all_that_is_known() -> None:
    assert Histogram([0.01, math.inf], [0, 5]).quantile(0.5) == 0.01


def test_nothing_observed_has_no_quantile() -> None:
    assert math.isnan(Histogram([0.01, math.inf], [0, 0]).quantile(0.5))
    assert "nan" in table([("lm", Histogram([0.01, math.inf], [0, 0]))])


@given(st.lists(st.floats(0.0001, 0.0999), min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_the_true_quantile_lies_in_the_same_bucket(observations_s: list[float], q: float) -> None:
    found = _scraped(observations_s)["lm"]
    true_s = sorted(observations_s)[max(0, math.ceil(q * len(observations_s) - 1e-9) - 1)]
    bucket = next(index for index, bound in enumerate(BUCKETS) if true_s <= bound)
    low_s = BUCKETS[bucket - 1] if bucket else 0.0
    assert low_s <= found.quantile(q) <= BUCKETS[bucket] + 1e-12
    assert found.count == len(observations_s)


def test_the_table_is_in_milliseconds() -> None:
    lines = table([("turnaround", _scraped([0.015] * 4)["lm"])]).splitlines()
    assert lines[0].split() == ["hop", "p50", "ms", "p99", "ms", "frames"]
    assert lines[1].split() == ["turnaround", "15.0", "19.9", "4"]
