import warnings

import numpy as np
import pytest

from moshi_cluster.audio import g711

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    audioop = pytest.importorskip("audioop", reason="the reference left the standard library in 3.13")

ALL_BYTES = bytes(range(256))
ALL_LINEAR = np.arange(-32_768, 32_768).astype(np.int16)

LAWS = {
    "mulaw": (g711.decode_mulaw, g711.encode_mulaw, audioop.ulaw2lin, audioop.lin2ulaw),
    "alaw": (g711.decode_alaw, g711.encode_alaw, audioop.alaw2lin, audioop.lin2alaw),
}


@pytest.mark.parametrize("law", LAWS)
def test_all_256_codes_decode_as_the_standard_says(law):
    decode, _, reference, _ = LAWS[law]
    expected = np.frombuffer(reference(ALL_BYTES, 2), dtype="<i2")
    assert np.array_equal(decode(ALL_BYTES) * 32_768, expected)


@pytest.mark.parametrize("law", LAWS)
def test_all_65536_samples_encode_as_the_standard_says(law):
    _, encode, _, reference = LAWS[law]
    samples = ALL_LINEAR.astype(np.float32) / 32_768
    assert encode(samples) == reference(ALL_LINEAR.astype("<i2").tobytes(), 2)


@pytest.mark.parametrize("law", LAWS)
def test_decoding_and_encoding_again_gives_the_same_codes(law):
    decode, encode, _, _ = LAWS[law]
    again = encode(decode(ALL_BYTES))
    # mu-law has a code for minus zero, which is the same sample as zero.
    expected = ALL_BYTES.replace(b"\x7f", b"\xff") if law == "mulaw" else ALL_BYTES
    assert again == expected


@pytest.mark.parametrize("law", LAWS)
def test_samples_beyond_full_scale_clip(law):
    _, encode, _, reference = LAWS[law]
    extremes = np.array([-32_768, 32_767], dtype="<i2").tobytes()
    assert encode(np.array([-3.0, 3.0], dtype=np.float32)) == reference(extremes, 2)
