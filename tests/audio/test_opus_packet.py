"""Lengths of Opus packets, as they say it and as they decode."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.audio.opus import DECODED_RATE_HZ, OpusDecoder, OpusEncoder
from moshi_cluster.audio.opus_packet import LONGEST_S, duration_s
from moshi_cluster.audio.pcm import MalformedAudio


@pytest.mark.parametrize("packet_ms", [10, 20, 40, 60, 80, 100])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
def test_what_our_encoder_makes_is_as_long_as_it_is(rate_hz: int, packet_ms: int) -> None:
    voice = np.random.default_rng(1).normal(0, 0.1, rate_hz * packet_ms // 1000).astype(np.float32)
    packet = OpusEncoder(rate_hz, packet_ms).encode(voice)
    assert duration_s(packet) == pytest.approx(packet_ms / 1000)


@given(
    configuration=st.integers(0, 31),
    stereo=st.booleans(),
    code=st.integers(0, 3),
    data=st.binary(min_size=1, max_size=80),
)
def test_no_packet_decodes_to_more_than_it_says(configuration: int, stereo: bool, code: int, data: bytes) -> None:
    packet = bytes([configuration << 3 | stereo << 2 | code]) + data
    try:
        samples = OpusDecoder().decode(packet)
    except MalformedAudio:
        return
    assert samples.size == round(duration_s(packet) * DECODED_RATE_HZ)


@pytest.mark.parametrize(
    ("packet", "seconds"),
    [
        (b"", 0.0),
        (b"\x00", 0.01),
        (bytes([3 << 3]), 0.06),
        (bytes([12 << 3]), 0.01),
        (bytes([16 << 3]), 0.0025),
        (bytes([31 << 3 | 1]), 0.04),
        (bytes([16 << 3 | 3, 48]), 0.12),
        (bytes([31 << 3 | 3, 63]), LONGEST_S),
        (b"\x03", 0.0),
    ],
)
def test_the_first_bytes_say_it(packet: bytes, seconds: float) -> None:
    assert duration_s(packet) == pytest.approx(seconds)
