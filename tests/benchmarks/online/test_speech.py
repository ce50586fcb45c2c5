"""Recordings become packets of the length and format asked for, and loop without a seam."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from benchmarks.online.speech import LineFormat, first_packet, looped, speech_messages
from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE, Recording
from moshi_cluster.clients.telephony.wire_formats import ENCODINGS
from moshi_cluster.v1 import gateway_pb2


def tone(hz: float, rate_hz: int, seconds: float = 1.0) -> array[int]:
    time = np.arange(int(rate_hz * seconds)) / rate_hz
    return array("h", np.rint(10_000 * np.sin(2 * np.pi * hz * time)).astype(np.int16).tobytes())


@pytest.mark.parametrize(
    ("name", "rate_hz", "packet_bytes"),
    [("mulaw", 8000, 160), ("s16le", 8000, 320), ("s16be", 24000, 960), ("f32le", 24000, 1920), ("g722", 16000, 160)],
)
def test_every_packet_has_its_length_and_parses(name: str, rate_hz: int, packet_bytes: int) -> None:
    assert name in ENCODINGS
    line = LineFormat(name, rate_hz, packet_ms=20, reply_packet_ms=20)
    messages = [gateway_pb2.ConverseRequest.FromString(data) for data in speech_messages(DEMO_UTTERANCE, line)]
    assert len(messages) == 299  # 5.99 s, cut to whole packets
    assert {len(message.audio.data) for message in messages} == {packet_bytes}
    assert len({message.audio.data for message in messages}) > 100


def test_a_tone_keeps_its_pitch_and_level_at_another_rate() -> None:
    samples = looped(Recording(tone(1000, 24_000), 24_000), 8000, 160)
    np.testing.assert_allclose(samples, tone(1000, 8000), atol=2)


def test_what_the_lower_rate_cannot_hold_is_gone() -> None:
    assert max(looped(Recording(tone(7000, 24_000), 24_000), 8000, 160)) <= 2


def test_a_recording_shorter_than_a_packet_fills_one() -> None:
    assert len(looped(Recording(tone(1000, 8000, 0.01), 8000), 8000, 160)) == 160


def test_callers_begin_at_different_places_of_the_loop() -> None:
    assert len({first_packet(caller, 16, 299) for caller in range(16)}) == 16
    assert max(first_packet(caller, 16, 299) for caller in range(16)) < 299


def test_frames_that_do_not_divide_into_packets_are_still_whole() -> None:
    assert LineFormat("mulaw", 8000, 30, 20).packets_of(3) == 8
    assert LineFormat("mulaw", 8000, 20, 20).packets_of(3) == 12
