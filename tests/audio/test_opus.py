"""Opus packets to samples and back."""

import numpy as np
import pytest

pytest.importorskip("av", reason="Opus comes with PyAV")
from moshi_cluster.audio.opus import OpusDecoder, OpusEncoder
from moshi_cluster.audio.pcm import MalformedAudio
from tests.audio import vectors

RATES_HZ = [8_000, 16_000, 24_000, 48_000]
PACKETS_MS = [10, 20, 40, 60, 80, 100]


def chirps(rate_hz: int, seconds: float) -> np.ndarray:
    """Tones that rise from 200 to 1200 Hz twice a second."""
    time = np.arange(int(rate_hz * seconds)) / rate_hz
    phase = (time % 0.5) * (200 + 1_000 * (time % 0.5))
    return (0.5 * np.sin(2 * np.pi * phase)).astype(np.float32)


def packets(rate_hz: int, packet_ms: int, seconds: float = 1.2) -> list[bytes]:
    encoder = OpusEncoder(rate_hz, packet_ms)
    return [encoder.encode(piece) for piece in chirps(rate_hz, seconds).reshape(-1, rate_hz * packet_ms // 1000)]


def test_packets_of_another_program_decode_to_its_sound():
    decoder = OpusDecoder()
    heard = [decoder.decode(packet) for packet in vectors.OPUS_PACKETS]
    assert [samples.size for samples in heard] == [960] * 4
    assert [np.sqrt(np.mean(samples**2)) for samples in heard] == pytest.approx(vectors.OPUS_PACKETS_RMS, abs=0.005)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("packet_ms", PACKETS_MS)
def test_every_packet_decodes_to_its_own_length(rate_hz, packet_ms):
    decoder, encoder = OpusDecoder(), OpusEncoder(rate_hz, packet_ms)
    silence = np.zeros(rate_hz * packet_ms // 1000, dtype=np.float32)
    assert [decoder.decode(encoder.encode(silence)).size for _ in range(3)] == [48 * packet_ms] * 3


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_sound_survives_the_way_there_and_back_within_20_ms(rate_hz):
    decoder = OpusDecoder()
    heard = np.concatenate([decoder.decode(packet) for packet in packets(rate_hz, 20)])
    sent = chirps(48_000, 1.2)
    likeness = [
        np.corrcoef(sent[9_600 : 9_600 + 38_400], heard[9_600 + lag : 9_600 + lag + 38_400])[0, 1] for lag in range(960)
    ]
    assert max(likeness) > 0.9


def test_a_shorter_last_packet_is_completed_with_silence():
    assert OpusDecoder().decode(OpusEncoder(48_000, 100).encode(np.zeros(3_840, dtype=np.float32))).size == 4_800


def test_more_bits_and_more_effort_are_spent_when_asked_for():
    sound = chirps(24_000, 0.96).reshape(-1, 480)
    lengths = []
    for bits_per_s in (6_000, 24_000):
        encoder = OpusEncoder(24_000, 20, bits_per_s, complexity=10)
        lengths.append(sum(len(encoder.encode(packet)) for packet in sound))
    assert lengths[0] < 0.5 * lengths[1]


def test_packets_carry_state_from_one_to_the_next():
    second = packets(16_000, 20)[1]
    decoder = OpusDecoder()
    decoder.decode(packets(16_000, 20)[0])
    assert not np.array_equal(decoder.decode(second), OpusDecoder().decode(second))


def test_an_empty_packet_means_nothing_and_ends_nothing():
    decoder = OpusDecoder()
    assert decoder.decode(b"").size == 0
    assert decoder.decode(packets(8_000, 20)[0]).size == 960


def test_bytes_that_are_no_packet_are_refused_and_disturb_nothing():
    disturbed, calm = OpusDecoder(), OpusDecoder()
    sent = packets(24_000, 20)
    for packet in sent[:5]:
        assert np.array_equal(disturbed.decode(packet), calm.decode(packet))
    # Code 3 with 63 frames: longer than 120 ms.
    with pytest.raises(MalformedAudio, match=r"^not an Opus packet$"):
        disturbed.decode(b"\xff\x3f\x00\x00")
    for packet in sent[5:]:
        assert np.array_equal(disturbed.decode(packet), calm.decode(packet))


def test_random_bytes_decode_to_sound_or_are_refused():
    random, decoder = np.random.default_rng(0), OpusDecoder()
    refused = 0
    for length in random.integers(1, 200, 500):
        try:
            samples = decoder.decode(random.bytes(int(length)))
        except MalformedAudio:
            refused += 1
        else:
            assert samples.size <= 5_760
            assert np.abs(samples).max() <= 1.0
    assert 0 < refused < 500
