"""Meters of loudness."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.clients.cli.talk.levels import FLOOR_DB, LevelMeter, rms_db
from moshi_cluster.clients.telephony.playback import silence

samples = st.lists(st.integers(-32_768, 32_767), max_size=200).map(lambda values: array("h", values))


@given(st.lists(samples, max_size=20))
def test_a_level_is_never_outside_its_scale_nor_below_what_is_heard(blocks: list[array[int]]) -> None:
    meter = LevelMeter()
    for block in blocks:
        meter.push(block)
        assert FLOOR_DB <= meter.level_db <= 0
        assert 0 <= meter.fraction <= 1
        assert meter.level_db >= rms_db(block) or not block


@pytest.mark.parametrize(("value", "level_db"), [(-32_768, 0.0), (16_384, -6.02), (328, -40.0), (1, FLOOR_DB)])
def test_the_level_is_that_of_full_scale(value: int, level_db: float) -> None:
    assert rms_db(array("h", [value] * 100)) == pytest.approx(level_db, abs=0.01)


def test_silence_lets_it_fall_by_thirty_decibels_a_second() -> None:
    meter = LevelMeter()
    meter.push(array("h", [-32_768] * 480))
    for _ in range(50):
        meter.push(silence(480))
    assert meter.level_db == pytest.approx(-30)
    for _ in range(100):
        meter.push(silence(480))
    assert meter.level_db == FLOOR_DB
