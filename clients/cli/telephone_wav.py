"""WAV files of G.711, the very bytes that telephones send. The standard library reads linear samples only."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from moshi_cluster.audio.g711 import G711_RATE_HZ

_ENCODINGS = {6: "alaw", 7: "mulaw"}


@dataclass(frozen=True)
class TelephoneRecording:
    """One side of a call, 8000 samples a second."""

    encoding: str  # mulaw or alaw
    data: bytes  # one for every sample

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.data) / G711_RATE_HZ


def read_telephone_wav(path: Path) -> TelephoneRecording:
    """The G.711 of a WAV file. Raises OSError, and ValueError for anything but mono at 8000 Hz."""
    chunks = _chunks(path.read_bytes())
    try:
        kind, channels, rate_hz = struct.unpack_from("<HHI", chunks[b"fmt "])
        encoding, data = _ENCODINGS[kind], chunks[b"data"]
    except (KeyError, struct.error) as error:
        raise ValueError(f"{path}: not a WAV file with G.711") from error
    if (channels, rate_hz) != (1, G711_RATE_HZ):
        raise ValueError(f"{path}: expected mono, {G711_RATE_HZ} Hz, found {channels} channels, {rate_hz} Hz")
    return TelephoneRecording(encoding, data)


def _chunks(content: bytes) -> dict[bytes, bytes]:
    """The chunks of a RIFF file by name; none when it is no such file."""
    found: dict[bytes, bytes] = {}
    if content[:4] + content[8:12] != b"RIFFWAVE":
        return found
    position = 12
    while position + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, position)
        found[name] = content[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    return found
