"""Latency from mouth to ear."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.clients.cli.talk.delay import Delay


def test_there_is_none_before_anything_was_said() -> None:
    assert Delay().seconds is None


@given(st.integers(0, 48_000), st.integers(1, 50))
def test_a_constant_delay_is_itself_from_the_first_value_on(behind: int, count: int) -> None:
    delay = Delay()
    for index in range(count):
        delay.observe(480 * index + behind, 480 * index)
    assert delay.seconds == pytest.approx(behind / 24_000, abs=1e-9)


def test_frames_that_the_gateway_added_or_took_away_do_not_count_as_delay() -> None:
    delay = Delay()
    delay.note_counters({"frames_in": 100, "frames_filled": 3, "frames_dropped": 1})
    delay.observe(100 * 1920, 101 * 1920)
    assert delay.seconds == pytest.approx(0.08)


def test_it_falls_back_after_a_drop() -> None:
    delay = Delay()
    for _ in range(50):
        delay.observe(48_000, 24_000)
    for _ in range(50):
        delay.observe(48_000, 45_600)
    assert delay.seconds == pytest.approx(0.1, abs=0.001)


def test_after_a_resumption_only_what_is_said_since_counts() -> None:
    delay = Delay()
    delay.observe(48_000, 24_000)
    delay.note_counters({"frames_filled": 3})
    delay.begin(48_000 - 24_000)
    assert delay.seconds is None
    for _ in range(40):
        delay.observe(72_000, 48_000 - 2_400)
    assert delay.seconds == pytest.approx(0.1)
