"""How samples travel in the public contract's uncompressed encodings."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import numpy as np

from moshi_cluster.audio import g711, pcm
from moshi_cluster.clients.cli.recording import S16Samples
from moshi_cluster.v1 import gateway_pb2

ENCODINGS = {
    "s16le": gateway_pb2.ENCODING_PCM_S16LE,
    "f32le": gateway_pb2.ENCODING_PCM_F32LE,
    "mulaw": gateway_pb2.ENCODING_MULAW,
    "alaw": gateway_pb2.ENCODING_ALAW,
}
_ENCODERS: dict[str, Callable[[pcm.Samples], bytes]] = {
    "s16le": pcm.encode_s16le,
    "f32le": pcm.encode_f32le,
    "mulaw": g711.encode_mulaw,
    "alaw": g711.encode_alaw,
}
_DECODERS: dict[str, Callable[[bytes], pcm.Samples]] = {
    "s16le": pcm.decode_s16le,
    "f32le": pcm.decode_f32le,
    "mulaw": g711.decode_mulaw,
    "alaw": g711.decode_alaw,
}


def to_wire(samples: S16Samples, encoding: str) -> bytes:
    """16-bit samples to bytes of one of ENCODINGS."""
    return _ENCODERS[encoding](to_float(samples))


def from_wire(data: bytes, encoding: str) -> S16Samples:
    """Bytes of one of ENCODINGS to 16-bit samples, clipped to full scale. Raises ValueError for what is no sound."""
    return to_s16(_DECODERS[encoding](data))


def to_float(samples: S16Samples) -> pcm.Samples:
    """16-bit samples to floats from -1 to 1."""
    return pcm.from_s16(np.frombuffer(samples, np.int16))


def to_s16(samples: pcm.Samples) -> S16Samples:
    """Floats to 16-bit samples, clipped to full scale."""
    return array("h", pcm.to_s16(samples).tobytes())
