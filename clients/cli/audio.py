"""Recordings on disk, and samples as they travel."""

from __future__ import annotations

import sys
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path

from moshi_cluster.clients.cli import g711
from moshi_cluster.v1 import gateway_pb2

ENCODINGS = {
    "s16le": gateway_pb2.ENCODING_PCM_S16LE,
    "f32le": gateway_pb2.ENCODING_PCM_F32LE,
    "mulaw": gateway_pb2.ENCODING_MULAW,
    "alaw": gateway_pb2.ENCODING_ALAW,
}
G711_RATE_HZ = 8000
_FULL_SCALE = 32768


class AudioError(Exception):
    """A recording cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Recording:
    """Mono sound."""

    samples: array[int]  # 16 bit
    rate_hz: int

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.rate_hz


def read_wav(path: Path) -> Recording:
    """A mono WAV file of 16-bit samples. Raises AudioError."""
    try:
        with wave.open(str(path), "rb") as file:
            if file.getnchannels() != 1 or file.getsampwidth() != 2:
                raise AudioError(
                    f"{path}: expected mono 16-bit samples, found {file.getnchannels()} channels of "
                    f"{8 * file.getsampwidth()} bit"
                )
            return Recording(_from_little_endian("h", file.readframes(file.getnframes())), file.getframerate())
    except (OSError, EOFError, wave.Error) as error:
        raise AudioError(f"{path}: not a readable WAV file ({error})") from error


def write_wav(path: Path, recording: Recording) -> None:
    """Writes a mono WAV file of 16-bit samples. Raises AudioError."""
    try:
        with path.open("wb") as target, wave.open(target, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(recording.rate_hz)
            file.writeframes(_to_little_endian(recording.samples))
    except OSError as error:
        raise AudioError(f"{path}: cannot be written ({error})") from error


def to_wire(samples: array[int], format_name: str) -> bytes:
    """16-bit samples -> bytes of one of ENCODINGS."""
    match format_name:
        case "s16le":
            return _to_little_endian(samples)
        case "f32le":
            return _to_little_endian(array("f", (sample / _FULL_SCALE for sample in samples)))
        case "mulaw":
            return g711.encode_ulaw(samples)
        case _:
            return g711.encode_alaw(samples)


def from_wire(data: bytes, format_name: str) -> array[int]:
    """Bytes of one of ENCODINGS -> 16-bit samples, clipped to full scale."""
    match format_name:
        case "s16le":
            return _from_little_endian("h", data)
        case "f32le":
            floats = _from_little_endian("f", data)
            return array("h", (max(-_FULL_SCALE, min(_FULL_SCALE - 1, round(x * _FULL_SCALE))) for x in floats))
        case "mulaw":
            return g711.decode_ulaw(data)
        case _:
            return g711.decode_alaw(data)


def _from_little_endian(kind: str, data: bytes) -> array:  # type: ignore[type-arg]
    samples = array(kind)
    samples.frombytes(data)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _to_little_endian(samples: array) -> bytes:  # type: ignore[type-arg]
    if sys.byteorder == "big":
        samples = array(samples.typecode, samples)
        samples.byteswap()
    return samples.tobytes()
