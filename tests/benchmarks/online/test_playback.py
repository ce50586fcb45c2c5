"""A caller's buffer runs dry when it should."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.online.playback import SimulatedPlayback

FRAME_S = 0.08


def underruns(late_s: Sequence[float]) -> int:
    """Frame n comes this much after n frames."""
    buffer = SimulatedPlayback(0.1)
    for index, late in enumerate(late_s):
        buffer.arrive(index * FRAME_S + late, FRAME_S)
    return buffer.underruns


def test_frames_in_time_never_run_dry() -> None:
    assert underruns([0.0] * 1000) == 0


@given(st.lists(st.floats(0, 0.099), max_size=200))
def test_jitter_below_the_buffer_never_runs_dry(late_s: list[float]) -> None:
    assert underruns([0.0, *late_s]) == 0


def test_a_frame_later_than_the_buffer_is_one_underrun() -> None:
    assert underruns([0.0] * 10 + [0.101] + [0.0] * 10) == 1


def test_after_an_underrun_the_delay_begins_anew() -> None:
    assert underruns([0.0, 0.15, 0.15 + 0.09, 0.15]) == 1
    assert underruns([0.0, 0.15, 0.15 + 0.11, 0.15]) == 2


def test_the_first_packet_is_no_underrun() -> None:
    assert underruns([5.0]) == 0


def test_a_missing_frame_makes_those_behind_it_late() -> None:
    buffer = SimulatedPlayback(0.1)
    for index in (0, 1, 3, 4, 6, 7):  # two of eight never come
        buffer.arrive(index * FRAME_S, FRAME_S)
    assert buffer.underruns == 1


def test_a_silence_is_as_long_as_its_packet_is_late() -> None:
    buffer = SimulatedPlayback(0.1)
    for at_s in (0.0, 0.08, 0.16, 0.84):  # the last one was due at 0.34
        buffer.arrive(at_s, FRAME_S)
    (silence,) = buffer.silences
    assert silence.end_s == 0.84
    assert silence.length_s == pytest.approx(0.5)


def test_what_a_small_buffer_does_not_keep_hides_no_later_silence() -> None:
    """Ten frames in a heap, then nothing for half a second."""
    heard = {}
    for most_s in (0.2, math.inf):
        buffer = SimulatedPlayback(0.1, most_s)
        for _ in range(10):
            buffer.arrive(0.0, FRAME_S)
        buffer.arrive(0.5, FRAME_S)
        heard[most_s] = [round(silence.length_s, 3) for silence in buffer.silences]
    assert heard == {0.2: [0.3], math.inf: []}
