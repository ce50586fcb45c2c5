import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.framing import ReplyCutter
from moshi_cluster.services.gateway.audio.transcode import AudioDecoder

pytest.importorskip("av", reason="Opus comes with PyAV")
from moshi_cluster.audio.opus import OpusDecoder, OpusEncoder

ROOT = Path(__file__).parents[2]
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


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("packet_ms", PACKETS_MS)
def test_every_packet_decodes_to_its_own_length(rate_hz, packet_ms):
    decoder = AudioDecoder(AudioFormat(Encoding.OPUS, rate_hz))
    encoder = OpusEncoder(rate_hz, packet_ms)
    silence = np.zeros(rate_hz * packet_ms // 1000, dtype=np.float32)
    assert [decoder.decode(encoder.encode(silence)).size for _ in range(3)] == [24 * packet_ms] * 3
    assert decoder.samples_in == 3 * silence.size


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_sound_survives_the_way_there_and_back_within_20_ms(rate_hz):
    decoder = OpusDecoder()
    heard = np.concatenate([decoder.decode(packet) for packet in packets(rate_hz, 20)])
    sent = chirps(48_000, 1.2)
    likeness = [
        np.corrcoef(sent[9_600 : 9_600 + 38_400], heard[9_600 + lag : 9_600 + lag + 38_400])[0, 1] for lag in range(960)
    ]
    assert max(likeness) > 0.9


def test_a_call_in_opus_gives_whole_packets_and_counts_its_samples():
    cutter = ReplyCutter(AudioFormat(Encoding.OPUS, 16_000), 20)
    cut = [packet for frame in chirps(24_000, 0.4).reshape(-1, 1_920) for packet in cutter.push(frame)]
    assert [packet.first_sample for packet in cut] == [320 * index for index in range(20)]
    assert cutter.flush() == []
    decoder = AudioDecoder(AudioFormat(Encoding.OPUS, 16_000))
    assert sum(decoder.decode(packet.data).size for packet in cut) == 9_600


def test_a_shorter_last_packet_is_completed_with_silence():
    cutter = ReplyCutter(AudioFormat(Encoding.OPUS, 48_000), 100)
    assert cutter.push(np.zeros(1_920, dtype=np.float32)) == []
    (last,) = cutter.flush()
    assert last.samples == 3_840
    assert OpusDecoder().decode(last.data).size == 4_800


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
    with pytest.raises(InvalidInput, match=r"^audio\.data: not an Opus packet \(4 bytes\)$"):
        disturbed.decode(b"\xff\x3f\x00\x00")
    for packet in sent[5:]:
        assert np.array_equal(disturbed.decode(packet), calm.decode(packet))


def test_random_bytes_decode_to_sound_or_are_refused():
    random, decoder = np.random.default_rng(0), OpusDecoder()
    refused = 0
    for length in random.integers(1, 200, 500):
        try:
            samples = decoder.decode(random.bytes(int(length)))
        except InvalidInput:
            refused += 1
        else:
            assert samples.size <= 5_760
            assert np.abs(samples).max() <= 1.0
    assert 0 < refused < 500


def test_the_rest_of_the_edge_works_without_pyav():
    script = (
        "import sys; sys.modules['av'] = None\n"
        "from services.gateway.audio.transcode import AudioDecoder\n"
        "from services.gateway.audio.formats import AudioFormat, Encoding\n"
        "assert AudioDecoder(AudioFormat(Encoding.MULAW, 8000)).decode(bytes(160)).size == 480\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
