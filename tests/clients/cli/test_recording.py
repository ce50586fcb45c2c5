"""WAV files of one voice."""

from __future__ import annotations

import struct
import wave
from array import array
from pathlib import Path

import pytest

from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE, Recording, read_wav, write_wav
from moshi_cluster.clients.telephony.errors import BadInput


def test_a_recording_survives_a_file(tmp_path: Path) -> None:
    recording = Recording(array("h", [1, -2, 3]), 8000)
    write_wav(tmp_path / "a.wav", recording)
    assert read_wav(tmp_path / "a.wav") == recording


def test_the_demo_utterance_is_a_few_seconds_of_speech() -> None:
    recording = read_wav(DEMO_UTTERANCE)
    assert recording.rate_hz == 24000
    assert 4 < recording.seconds < 8
    assert max(recording.samples) > 10000
    assert DEMO_UTTERANCE.stat().st_size < 300_000


def test_stereo_is_refused_by_name(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "stereo.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(8))
    with pytest.raises(BadInput, match=r"stereo\.wav: expected mono 16-bit linear samples, found 2 channels"):
        read_wav(tmp_path / "stereo.wav")


def wav(form: bytes, data: bytes, data_bytes: int | None = None) -> bytes:
    """A file with this format chunk. data_bytes: how long it says that it is."""
    said = len(data) if data_bytes is None else data_bytes
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", said) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def pcm_format(rate_hz: int = 8000, bits: int = 16, channels: int = 1) -> bytes:
    return struct.pack("<HHIIHH", 1, channels, rate_hz, 0, 0, bits)


EXTENSIBLE = struct.pack("<HHIIHHHHIH", 0xFFFE, 1, 8000, 16_000, 2, 16, 22, 16, 4, 1) + bytes.fromhex(
    "000000001000800000aa00389b71"
)


@pytest.mark.parametrize(
    "content",
    [
        wav(pcm_format(), b"\x01\0\x02\0\x03"),  # cut inside a sample
        wav(pcm_format(), b"\x01\0\x02\0", data_bytes=1_000_000),  # cut inside its data
        wav(pcm_format(), b"\x01\0\x02\0", data_bytes=0xFFFFFFFF),  # written to a pipe
        wav(EXTENSIBLE, b"\x01\0\x02\0"),
    ],
)
def test_unusual_files_are_played_as_far_as_they_go(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    assert read_wav(tmp_path / "a.wav") == Recording(array("h", [1, 2]), 8000)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (wav(pcm_format(rate_hz=0), b"ab"), "0 Hz is no sample rate"),
        (wav(pcm_format(rate_hz=0xFFFFFFFF), b"ab"), "4294967295 Hz is no sample rate"),
        (wav(pcm_format(bits=0), b"ab"), "1 channels of 0 bit are no samples"),
        (wav(pcm_format(channels=0), b"ab"), "0 channels of 16 bit are no samples"),
        (wav(EXTENSIBLE[:20], b"ab"), "its format is cut short"),
        (wav(b"\xfe\xff", b"ab"), "its format is cut short"),
        (wav(pcm_format(bits=24), b"abc"), "expected mono 16-bit linear samples, found 1 channels of 24 bit"),
        (wav(pcm_format(), b"ab")[:40], "not a WAV file"),
    ],
)
def test_what_cannot_be_played_is_one_line_with_the_file_and_the_reason(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(BadInput, match=f"a.wav: .*{complaint}|a.wav: {complaint}"):
        read_wav(tmp_path / "a.wav")


def test_what_is_no_recording_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    for name in ("text.wav", "absent.wav"):
        with pytest.raises(BadInput, match=name):
            read_wav(tmp_path / name)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"folder\.wav: cannot be written"):
        write_wav(tmp_path / "no" / "folder.wav", Recording(array("h"), 8000))
