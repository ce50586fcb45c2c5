"""Percentiles are values that occurred, and those of nothing are nan."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.online.quantiles import quantile, ratio


def test_the_99th_percentile_of_a_hundred_is_the_99th() -> None:
    assert quantile([float(value) for value in range(1, 101)], 0.99) == 99
    assert quantile([float(value) for value in range(1, 101)], 0.999) == 100


def test_nothing_has_no_percentile_and_no_share() -> None:
    assert math.isnan(quantile([], 0.5))
    assert math.isnan(ratio(0, 0))


@given(st.lists(st.floats(0, 1e3), min_size=1), st.sampled_from([0.5, 0.99, 0.999]))
def test_at_least_the_share_does_not_exceed_the_percentile(values: list[float], q: float) -> None:
    found = quantile(values, q)
    assert found in values
    assert sum(value <= found for value in values) >= q * len(values) * (1 - 1e-12)
    assert sum(value < found for value in values) < q * len(values) or found == min(values)


def test_a_share() -> None:
    assert ratio(1, 4) == pytest.approx(0.25)
