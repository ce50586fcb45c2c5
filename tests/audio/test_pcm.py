import struct

import numpy as np
import pytest

from moshi_cluster.audio import pcm

ALL_LINEAR = np.arange(-32_768, 32_768).astype("<i2").tobytes()


def test_every_16_bit_sample_survives_the_way_there_and_back():
    assert pcm.encode_s16le(pcm.decode_s16le(ALL_LINEAR)) == ALL_LINEAR


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (0.51, 1), (32_767.4, 32_767)],
)
def test_samples_between_two_steps_go_to_the_nearest_and_halves_to_the_even_one(value, expected):
    assert struct.unpack("<h", pcm.encode_s16le(np.array([value / 32_768], dtype=np.float32))) == (expected,)


def test_samples_beyond_full_scale_clip():
    loud = np.array([1.0, 8.0, -1.0, -8.0], dtype=np.float32)
    assert struct.unpack("<4h", pcm.encode_s16le(loud)) == (32_767, 32_767, -32_768, -32_768)


def test_16_bit_bytes_are_little_endian():
    assert pcm.decode_s16le(b"\x00\x40") == np.float32(0.5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), 8.001, -8.001, 1e30])
@pytest.mark.parametrize("place", [0, 77, 159])
def test_a_float_that_is_no_sound_is_refused_wherever_it_stands(bad, place):
    samples = np.zeros(160, dtype="<f4")
    samples[place] = bad
    with pytest.raises(pcm.MalformedAudio, match=r"^samples must be finite and at most 8 in magnitude$"):
        pcm.decode_f32le(samples.tobytes())


def test_floats_up_to_the_limit_pass_unchanged():
    samples = np.array([8.0, -8.0, 1e-30, 0.0], dtype="<f4")
    assert pcm.encode_f32le(pcm.decode_f32le(samples.tobytes())) == samples.tobytes()
