"""G.711 against the standard's own numbers."""

import hashlib
import warnings

import numpy as np
import pytest

from moshi_cluster.audio import g711
from tests.audio import vectors

ALL_CODES = bytes(range(256))
ALL_LINEAR = np.arange(-32_768, 32_768).astype(np.int16)
EVERY_SAMPLE = ALL_LINEAR.astype(np.float32) / 32_768

LAWS = {"mulaw": (g711.decode_mulaw, g711.encode_mulaw), "alaw": (g711.decode_alaw, g711.encode_alaw)}

by_law = pytest.mark.parametrize("law", LAWS)


@pytest.mark.parametrize(
    ("decode", "codes", "samples"),
    [
        (g711.decode_mulaw, vectors.MULAW_SEGMENTS, vectors.MULAW_SEGMENT_SAMPLES),
        (g711.decode_alaw, vectors.ALAW_SEGMENTS, vectors.ALAW_SEGMENT_SAMPLES),
    ],
    ids=LAWS,
)
def test_segments_begin_where_the_standard_has_them(decode, codes, samples):
    assert (decode(codes) * 32_768).tolist() == samples
    below_zero = bytes(code ^ 0x80 for code in codes)
    assert (decode(below_zero) * -32_768).tolist() == samples


@pytest.mark.parametrize(
    ("decode", "codes", "full_scale_dbm0"),
    [
        (g711.decode_mulaw, vectors.MULAW_MILLIWATT, vectors.MULAW_FULL_SCALE_DBM0),
        (g711.decode_alaw, vectors.ALAW_MILLIWATT, vectors.ALAW_FULL_SCALE_DBM0),
    ],
    ids=LAWS,
)
def test_the_digital_milliwatt_is_a_milliwatt(decode, codes, full_scale_dbm0):
    loudness = np.sqrt(2 * np.mean(decode(codes) ** 2))
    assert 20 * np.log10(loudness) == pytest.approx(-full_scale_dbm0, abs=0.05)


@pytest.mark.parametrize(
    ("encode", "digest"),
    [
        (g711.encode_mulaw, vectors.MULAW_OF_EVERY_SAMPLE),
        (g711.encode_alaw, vectors.ALAW_OF_EVERY_SAMPLE),
        (g711.nearest_mulaw, vectors.NEAREST_MULAW_OF_EVERY_SAMPLE),
    ],
)
def test_every_sample_has_the_code_that_it_always_had(encode, digest):
    assert hashlib.sha256(encode(EVERY_SAMPLE)).hexdigest() == digest


@by_law
def test_python_has_the_same_codes_and_samples(law):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop", reason="it left the standard library in Python 3.13")
    (decode, encode), name = LAWS[law], {"mulaw": "ulaw", "alaw": "alaw"}[law]
    decoded = np.frombuffer(getattr(audioop, f"{name}2lin")(ALL_CODES, 2), dtype="<i2")
    assert np.array_equal(decode(ALL_CODES) * 32_768, decoded)
    assert encode(EVERY_SAMPLE) == getattr(audioop, f"lin2{name}")(ALL_LINEAR.astype("<i2").tobytes(), 2)


@by_law
def test_decoding_and_encoding_again_gives_the_same_codes(law):
    decode, encode = LAWS[law]
    # mu-law has a code for minus zero, which is the same sample as zero.
    expected = ALL_CODES.replace(b"\x7f", b"\xff") if law == "mulaw" else ALL_CODES
    assert encode(decode(ALL_CODES)) == expected


@by_law
def test_samples_beyond_full_scale_clip(law):
    _, encode = LAWS[law]
    full_scale = np.array([-1.0, 32_767 / 32_768], dtype=np.float32)
    assert encode(np.array([-3.0, 3.0], dtype=np.float32)) == encode(full_scale)


def test_the_nearest_level_is_the_nearest_one():
    samples = np.random.default_rng(2).uniform(-1.1, 1.1, 2_000).astype(np.float32)
    levels = g711.decode_mulaw(ALL_CODES)
    distances = np.abs(samples[:, None] - levels).min(axis=1)
    heard = g711.decode_mulaw(g711.nearest_mulaw(samples))
    np.testing.assert_allclose(np.abs(heard - samples), distances, atol=1e-7)


def test_levels_are_their_own_nearest():
    assert g711.nearest_mulaw(g711.decode_mulaw(ALL_CODES)) == ALL_CODES.replace(b"\x7f", b"\xff")
