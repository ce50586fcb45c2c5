"""RIFF container of a WAV file: what its format says, and the bytes of its samples.

The standard library's reader knows one encoding, and stops at files that are cut short or say WAVE_FORMAT_EXTENSIBLE.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PCM, ALAW, MULAW = 1, 6, 7
_EXTENSIBLE = 0xFFFE
_FORMAT = struct.Struct("<HHIIHH")  # encoding, channels, rate, bytes a second, bytes a frame, bits a sample
_SUBFORMAT_AT = 24  # of an extensible format: the encoding is the first two bytes of a GUID
_RATES_HZ = range(1, 1_000_001)


@dataclass(frozen=True)
class WavContent:
    """The samples of a WAV file as they lie in it."""

    encoding: int  # PCM, ALAW, MULAW or another of the registered numbers
    channels: int
    rate_hz: int
    bits: int  # of a sample
    data: bytes  # whole samples of all channels; what a cut left of another is not there


def read_riff(path: Path) -> WavContent:
    """The content of a WAV file, as much as is there of one that was cut short.

    Raises OSError, and ValueError that names the file and what is wrong.
    """
    chunks = dict(_chunks(path.read_bytes()))
    if b"fmt " not in chunks or b"data" not in chunks:
        raise ValueError(f"{path}: not a WAV file")
    try:
        encoding, channels, rate_hz, _, _, bits = _FORMAT.unpack_from(chunks[b"fmt "])
        if encoding == _EXTENSIBLE:
            (encoding,) = struct.unpack_from("<H", chunks[b"fmt "], _SUBFORMAT_AT)
    except struct.error:
        raise ValueError(f"{path}: not a WAV file, its format is cut short") from None
    if rate_hz not in _RATES_HZ:
        raise ValueError(f"{path}: {rate_hz} Hz is no sample rate")
    frame_bytes = channels * bits // 8
    if frame_bytes < 1:
        raise ValueError(f"{path}: {channels} channels of {bits} bit are no samples")
    data = chunks[b"data"]
    return WavContent(encoding, channels, rate_hz, bits, data[: len(data) - len(data) % frame_bytes])


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks by name; none of what is no such file. One that says more than there is ends with the file."""
    if content[:4] + content[8:12] != b"RIFFWAVE":
        return
    position = 12
    while position + 8 <= len(content):
        name, length_bytes = struct.unpack_from("<4sI", content, position)
        yield name, content[position + 8 : position + 8 + length_bytes]
        position += 8 + length_bytes + length_bytes % 2
