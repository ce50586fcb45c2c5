"""Calls in Opus at the gateway's edge."""

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
from tests.audio.test_opus import PACKETS_MS, RATES_HZ, chirps

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("packet_ms", PACKETS_MS)
def test_every_packet_gives_its_own_length_and_is_counted_at_the_callers_rate(rate_hz, packet_ms):
    decoder = AudioDecoder(AudioFormat(Encoding.OPUS, rate_hz))
    encoder = OpusEncoder(rate_hz, packet_ms)
    silence = np.zeros(rate_hz * packet_ms // 1000, dtype=np.float32)
    assert [decoder.decode(encoder.encode(silence)).size for _ in range(3)] == [24 * packet_ms] * 3
    assert decoder.samples_in == 3 * silence.size


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


def test_bytes_that_are_no_packet_are_refused_by_the_name_of_their_field():
    decoder = AudioDecoder(AudioFormat(Encoding.OPUS, 48_000))
    with pytest.raises(InvalidInput, match=r"^audio\.data: not an Opus packet$"):
        decoder.decode(b"\xff\x3f\x00\x00")
    assert decoder.samples_in == 0


def test_the_rest_of_the_edge_works_without_pyav():
    script = (
        "import sys; sys.modules['av'] = None\n"
        "from moshi_cluster.services.gateway.audio.transcode import AudioDecoder\n"
        "from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding\n"
        "assert AudioDecoder(AudioFormat(Encoding.MULAW, 8000)).decode(bytes(160)).size == 480\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
