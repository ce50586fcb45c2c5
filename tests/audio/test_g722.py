"""G.722 against another implementation's bytes, in packets of any lengths."""

import hashlib
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("av", reason="G.722 comes with PyAV")
from moshi_cluster.audio.g722 import G722Decoder, G722Encoder
from moshi_cluster.audio.pcm import Samples, encode_s16le, from_s16
from tests.audio import vectors

DELAY_SAMPLES = 22  # of both filters together


def rising_triangle() -> Samples:
    """Two seconds of a triangle wave that rises, with noise, in integers so that every machine has the same."""
    phase = seed = 0
    seed = 1
    linear = []
    for index in range(32_000):
        phase = (phase + 300 + index // 4) % 65_536
        seed = (seed * 1_103_515_245 + 12_345) % (1 << 31)
        linear.append(abs(phase - 32_768) - 16_384 + (seed >> 20) - 1_024)
    return from_s16(np.array(linear).clip(-32_768, 32_767).astype(np.int16))


SOUND = rising_triangle()
WIRE = G722Encoder(160).encode(SOUND)
HEARD = G722Decoder().decode(WIRE)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tone(freq_hz: float, seconds: float = 1.0) -> Samples:
    return (0.5 * np.sin(2 * np.pi * freq_hz * np.arange(int(16_000 * seconds)) / 16_000)).astype(np.float32)


def snr_db(sent: Samples, heard: Samples) -> float:
    late, sent = heard[DELAY_SAMPLES + 800 :], sent[800 : sent.size - DELAY_SAMPLES]
    return float(10 * np.log10(np.mean(sent**2) / np.mean((late - sent) ** 2)))


def test_bytes_and_sound_are_those_of_another_implementation():
    assert digest(encode_s16le(SOUND)) == vectors.G722_SOUND
    assert WIRE[:40] == vectors.G722_FIRST_BYTES
    assert digest(WIRE) == vectors.G722_BYTES
    assert digest(encode_s16le(HEARD)) == vectors.G722_HEARD


@pytest.mark.parametrize(("freq_hz", "least_db"), [(300, 40), (1_000, 40), (3_000, 25), (6_000, 10)])
def test_a_tone_survives_the_way_there_and_back(freq_hz, least_db):
    sent = tone(freq_hz)
    assert snr_db(sent, G722Decoder().decode(G722Encoder(320).encode(sent))) > least_db


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(0, 700), max_size=30))
def test_packets_of_any_lengths_are_heard_as_one_stream(lengths):
    decoder = G722Decoder()
    cuts = np.cumsum([0, *lengths, len(WIRE)]).clip(max=len(WIRE))
    pieces = [decoder.decode(WIRE[first:last]) for first, last in zip(cuts, cuts[1:], strict=False)]
    assert np.array_equal(np.concatenate(pieces), HEARD)


@pytest.mark.parametrize("block_samples", [16, 160, 320, 1_280])
@pytest.mark.parametrize("packet_samples", [1_280, 6_400])
def test_blocks_of_any_length_make_the_same_bytes(block_samples, packet_samples):
    encoder = G722Encoder(block_samples)
    packets = [encoder.encode(SOUND[first : first + packet_samples]) for first in range(0, SOUND.size, packet_samples)]
    assert b"".join(packets) == WIRE
    assert {len(packet) for packet in packets} == {packet_samples // 2}


def test_the_last_packet_may_be_shorter():
    encoder = G722Encoder(320)
    assert [len(encoder.encode(SOUND[first : first + 320])) for first in (0, 320, 31_900)] == [160, 160, 50]


def test_samples_beyond_full_scale_clip():
    loud = tone(400) * 3
    assert G722Encoder(160).encode(loud) == G722Encoder(160).encode(loud.clip(-1, 32_767 / 32_768))


def test_streams_know_nothing_of_each_other():
    first, second = G722Decoder(), G722Decoder()
    first.decode(WIRE[5_000:9_000])
    assert np.array_equal(second.decode(WIRE), HEARD)


def test_sound_is_right_again_soon_after_a_lost_packet():
    wire = G722Encoder(320).encode(tone(500, 2.0))
    whole, decoder = G722Decoder().decode(wire), G722Decoder()
    before, after = decoder.decode(wire[:4_000]), decoder.decode(wire[4_160:])
    assert np.array_equal(before, whole[:8_000])
    assert np.abs(after[4_000:] - whole[8_320 + 4_000 :]).max() < 0.02


def test_the_ffmpeg_of_the_system_makes_the_same_bytes_and_hears_the_same():
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("ffmpeg is not installed (Debian: apt-get install ffmpeg)")
    linear = ["-f", "s16le", "-ar", "16000", "-ac", "1"]

    def run(data: bytes, *options: str) -> bytes:
        command = [program, "-loglevel", "error", *options]
        return subprocess.run(command, input=data, capture_output=True, check=True, timeout=60).stdout

    assert run(encode_s16le(SOUND), *linear, "-i", "-", "-f", "g722", "-") == WIRE
    assert run(WIRE, "-f", "g722", "-i", "-", *linear, "-") == encode_s16le(HEARD)
