"""How samples travel in the public contract's encodings, all but Opus."""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Callable
from types import ModuleType
from typing import TypeAlias

import numpy as np

from moshi_cluster.audio import g711, pcm
from moshi_cluster.clients.telephony.errors import BadInput
from moshi_cluster.v1 import gateway_pb2

S16Samples: TypeAlias = "array[int]"
"""16 bit, mono."""
ENCODINGS = {
    "s16le": gateway_pb2.ENCODING_PCM_S16LE,
    "s16be": gateway_pb2.ENCODING_PCM_S16BE,
    "f32le": gateway_pb2.ENCODING_PCM_F32LE,
    "mulaw": gateway_pb2.ENCODING_MULAW,
    "alaw": gateway_pb2.ENCODING_ALAW,
    "g722": gateway_pb2.ENCODING_G722,
}
_ENCODERS: dict[str, Callable[[pcm.Samples], bytes]] = {
    "s16le": pcm.encode_s16le,
    "s16be": pcm.encode_s16be,
    "f32le": pcm.encode_f32le,
    "mulaw": g711.encode_mulaw,
    "alaw": g711.encode_alaw,
    "g722": lambda samples: _g722().G722Encoder(_G722_BLOCK_SAMPLES).encode(samples),
}
_DECODERS: dict[str, Callable[[bytes], pcm.Samples]] = {
    "s16le": pcm.decode_s16le,
    "s16be": pcm.decode_s16be,
    "f32le": pcm.decode_f32le,
    "mulaw": g711.decode_mulaw,
    "alaw": g711.decode_alaw,
    "g722": lambda data: _g722().G722Decoder().decode(data),
}
ONLY_RATE_HZ = {"mulaw": g711.G711_RATE_HZ, "alaw": g711.G711_RATE_HZ, "g722": 16_000}
"""The encodings that have one sample rate."""
_SAMPLES_PER_BYTE: dict[int, float] = {
    gateway_pb2.ENCODING_PCM_S16LE: 1 / 2,
    gateway_pb2.ENCODING_PCM_S16BE: 1 / 2,
    gateway_pb2.ENCODING_PCM_F32LE: 1 / 4,
    gateway_pb2.ENCODING_G722: 2.0,
}
_G722_BLOCK_SAMPLES = 160


def samples_in(data_bytes: int, encoding: int) -> int:
    """Samples that so many bytes of an encoding of the contract hold."""
    return int(data_bytes * _SAMPLES_PER_BYTE.get(encoding, 1.0))


def packets(samples: S16Samples, encoding: str, packet_samples: int) -> list[bytes]:
    """A recording in packets, the last of which may be shorter; of G.722 an even number of samples each."""
    wire = to_wire(samples, encoding)
    packet_bytes = int(packet_samples / _SAMPLES_PER_BYTE.get(ENCODINGS[encoding], 1.0))
    return [wire[first : first + packet_bytes] for first in range(0, len(wire), packet_bytes)]


def to_wire(samples: S16Samples, encoding: str) -> bytes:
    """A whole recording of 16-bit samples to bytes of one of ENCODINGS. Raises BadInput where G.722 lacks PyAV."""
    return _ENCODERS[encoding](to_float(samples))


def from_wire(data: bytes, encoding: str) -> S16Samples:
    """All bytes of a stream in one of ENCODINGS to 16-bit samples, clipped to full scale.

    Raises ValueError for what is no sound, BadInput where G.722 lacks PyAV.
    """
    return to_s16(_DECODERS[encoding](data))


def to_float(samples: S16Samples) -> pcm.Samples:
    """16-bit samples to floats from -1 to 1."""
    return pcm.from_s16(np.frombuffer(samples, np.int16))


def to_s16(samples: pcm.Samples) -> S16Samples:
    """Floats to 16-bit samples, clipped to full scale."""
    return array("h", pcm.to_s16(samples).tobytes())


def _g722() -> ModuleType:
    """The codec, imported where it is spoken: clients do without FFmpeg otherwise."""
    try:
        return importlib.import_module("moshi_cluster.audio.g722")
    except ImportError as error:
        raise BadInput("G.722 needs PyAV: pip install av") from error
