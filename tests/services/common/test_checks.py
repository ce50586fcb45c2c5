"""What comes from outside is refused before it reaches a batch."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.common import checks
from moshi_cluster.services.common.errors import InvalidInput

_SAMPLES = 6

sound = st.lists(st.floats(-8, 8, width=32), min_size=_SAMPLES, max_size=_SAMPLES)
broken = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf]),
    st.floats(8, width=32, exclude_min=True),
    st.floats(max_value=-8, width=32, exclude_max=True),
)


@given(sound)
def test_finite_samples_of_sane_size_pass_unchanged(samples: list[float]) -> None:
    data = np.array(samples, "<f4").tobytes()
    assert checks.pcm_f32(data, _SAMPLES, "pcm") == data


@given(sound, st.integers(0, _SAMPLES - 1), broken)
def test_one_bad_sample_anywhere_is_refused(samples: list[float], index: int, bad: float) -> None:
    samples[index] = bad
    with pytest.raises(InvalidInput, match="^pcm: samples must be finite"):
        checks.pcm_f32(np.array(samples, "<f4").tobytes(), _SAMPLES, "pcm")


@given(st.integers(0, 10 * _SAMPLES).filter(lambda size: size != 4 * _SAMPLES))
def test_any_other_length_is_refused(size: int) -> None:
    with pytest.raises(InvalidInput, match="^pcm: must be one frame of 32 bit floats$") as error:
        checks.pcm_f32(bytes(size), _SAMPLES, "pcm")
    assert (error.value.figures["expected_bytes"], error.value.figures["got_bytes"]) == ("24", str(size))


@given(st.binary(min_size=4 * _SAMPLES, max_size=4 * _SAMPLES))
def test_any_bytes_are_either_refused_or_harmless(data: bytes) -> None:
    harmless = all(abs(sample) <= 8 for sample in struct.unpack(f"<{_SAMPLES}f", data))
    if harmless:
        assert checks.pcm_f32(data, _SAMPLES, "pcm") == data
    else:
        with pytest.raises(InvalidInput, match="^pcm: "):
            checks.pcm_f32(data, _SAMPLES, "pcm")


@given(st.lists(st.integers(0, 63), min_size=8, max_size=8))
def test_codes_within_range_pass(values: list[int]) -> None:
    assert checks.codes(values, 8, 64, "codes") == values


@given(st.lists(st.integers(0, 80), max_size=12))
def test_codes_pass_only_with_the_right_count_and_range(values: list[int]) -> None:
    if len(values) == 8 and all(value < 64 for value in values):
        assert checks.codes(values, 8, 64, "codes") == values
    else:
        with pytest.raises(InvalidInput, match="^codes: "):
            checks.codes(values, 8, 64, "codes")


def test_frames_come_without_gaps() -> None:
    checks.frame_index(3, 3, "frame_index")
    with pytest.raises(InvalidInput, match="^frame_index: must count up from the first frame without gaps$"):
        checks.frame_index(4, 3, "frame_index")
