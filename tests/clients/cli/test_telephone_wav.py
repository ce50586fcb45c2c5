"""WAV files with G.711."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from moshi_cluster.clients.cli.telephone_wav import read_telephone_wav


def wav(kind: int, channels: int, rate_hz: int, data: bytes, before: bytes = b"") -> bytes:
    layout = struct.pack("<HHIIHHH", kind, channels, rate_hz, rate_hz, channels, 8, 0)
    body = (
        b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + before + b"data" + struct.pack("<I", len(data)) + data
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(("kind", "encoding"), [(7, "mulaw"), (6, "alaw")])
def test_the_bytes_are_those_of_the_line(tmp_path: Path, kind: int, encoding: str) -> None:
    path = tmp_path / "call.wav"
    odd_chunk = b"note" + struct.pack("<I", 3) + b"abc\0"  # padded to an even length
    path.write_bytes(wav(kind, 1, 8000, bytes(range(256)), odd_chunk))
    recording = read_telephone_wav(path)
    assert (recording.encoding, recording.data, recording.seconds) == (encoding, bytes(range(256)), 256 / 8000)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (wav(1, 1, 8000, b"ab"), "not a WAV file with G.711"),
        (wav(7, 2, 8000, b"ab"), "found 2 channels"),
        (wav(7, 1, 16_000, b"ab"), "16000 Hz"),
        (b"", "not a WAV file"),
        (b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0\x07\0", "not a WAV file"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        read_telephone_wav(path)
