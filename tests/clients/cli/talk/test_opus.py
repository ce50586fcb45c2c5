"""Opus there and back, and other sample rates."""

from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moshi_cluster.clients.cli.talk.levels import rms_db
from moshi_cluster.clients.cli.talk.opus import PACKET_SAMPLES, OpusDecoder, OpusEncoder, Resampler


def tone(count: int, rate_hz: int = 24_000) -> array[int]:
    return array("h", (round(10_000 * math.sin(2 * math.pi * 440 * n / rate_hz)) for n in range(count)))


def test_a_tone_comes_back_as_loud_as_it_was() -> None:
    encoder, decoder = OpusEncoder(), OpusDecoder()
    heard = [decoder.decode(packet) for packet in encoder.encode(tone(24_000))]
    assert decoder.packet_samples == 24_000
    assert sum(map(len, heard)) == pytest.approx(24_000, abs=64)
    assert rms_db(heard[25]) == pytest.approx(rms_db(tone(24_000)), abs=1)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 1500), max_size=6))
def test_every_20_ms_are_a_packet(counts: list[int]) -> None:
    encoder = OpusEncoder()
    packets = sum(len(encoder.encode(tone(count))) for count in counts)
    assert packets == sum(counts) // PACKET_SAMPLES


def test_what_is_no_packet_is_not_heard() -> None:
    assert not OpusDecoder().decode(b"\xff\xff\xff")


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_a_recording_of_another_rate_keeps_its_length_and_loudness(rate_hz: int) -> None:
    resampled = Resampler(rate_hz).whole(tone(rate_hz, rate_hz))
    assert len(resampled) == pytest.approx(24_000, abs=2)
    assert rms_db(resampled) == pytest.approx(rms_db(tone(24_000)), abs=0.1)
