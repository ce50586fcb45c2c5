"""Ogg Opus there and back."""

from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("av", reason="the extra `talk` is not installed")
from moshi_cluster.audio.ogg import OpusStreamReader, OpusStreamWriter
from moshi_cluster.clients.cli.talk.levels import rms_db
from moshi_cluster.clients.cli.talk.ogg_opus import PACKET_SAMPLES, OggOpusDecoder, OggOpusEncoder
from tests.audio import vectors


def tone(count: int, rate_hz: int = 24_000) -> array[int]:
    return array("h", (round(10_000 * math.sin(2 * math.pi * 440 * n / rate_hz)) for n in range(count)))


def test_a_tone_comes_back_as_loud_as_it_was() -> None:
    encoder, decoder = OggOpusEncoder(), OggOpusDecoder()
    heard = [decoder.decode(page) for page in encoder.encode(tone(24_000))]
    assert decoder.samples == sum(map(len, heard)) == 24_000
    assert rms_db(heard[25]) == pytest.approx(rms_db(tone(24_000)), abs=1)


def test_what_another_program_wrote_is_heard() -> None:
    heard = OggOpusDecoder().decode(vectors.OGG_STREAM)
    assert len(heard) == 4 * 480
    assert rms_db(heard) == pytest.approx(20 * math.log10(0.15), abs=1)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 1500), max_size=6))
def test_every_20_ms_are_a_packet(counts: list[int]) -> None:
    encoder, reader = OggOpusEncoder(), OpusStreamReader()
    pages = [page for count in counts for page in encoder.encode(tone(count))]
    assert len(pages) == len(reader.push(b"".join(pages))) == sum(counts) // PACKET_SAMPLES
    assert reader.skipped_bytes == 0


def test_what_is_no_packet_is_not_heard() -> None:
    decoder = OggOpusDecoder()
    assert not decoder.decode(OpusStreamWriter().write(b"\xff\xff\xff", 960, 24_000))
    assert not decoder.decode(b"what is no Ogg")
    assert decoder.samples == 0
