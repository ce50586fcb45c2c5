"""ITU-T G.711 mu-law and A-law as lookup tables between bytes and 16-bit linear samples.

Encoding follows the ITU's reference (G.191): mu-law works on the upper 14 bits of a sample and A-law on the upper 13,
so the tables are built on `linear >> 2` and `linear >> 3`; a mu-law table built on all 16 bits differs in 381 places.
"""

import numpy as np
import numpy.typing as npt

from moshi_cluster.audio.pcm import Samples, from_s16, to_s16

G711_RATE_HZ = 8_000

_MULAW_BIAS = 33
_MULAW_BIASED_MAX = 8_191


def _mulaw_decode_table() -> npt.NDArray[np.int16]:
    code = ~np.arange(256) & 0xFF
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = (((mantissa << 1) + _MULAW_BIAS) << exponent) - _MULAW_BIAS
    return (np.where(code & 0x80, -magnitude, magnitude) << 2).astype(np.int16)


def _mulaw_encode_table() -> npt.NDArray[np.uint8]:
    linear = np.arange(65_536).astype(np.uint16).view(np.int16).astype(np.int32) >> 2
    magnitude = np.minimum(np.abs(linear) + _MULAW_BIAS, _MULAW_BIASED_MAX)
    exponent = _highest_bit(magnitude) - 5
    code = (exponent << 4) | ((magnitude >> (exponent + 1)) & 15)
    signed: npt.NDArray[np.int32] = np.where(linear < 0, code | 0x80, code)
    return (~signed & 0xFF).astype(np.uint8)


def _alaw_decode_table() -> npt.NDArray[np.int16]:
    code = np.arange(256) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _alaw_encode_table() -> npt.NDArray[np.uint8]:
    linear = np.arange(65_536).astype(np.uint16).view(np.int16).astype(np.int32) >> 3
    # One's complement: A-law has no zero, -1 and 0 are mirror images.
    magnitude = np.where(linear < 0, ~linear, linear)
    exponent = np.maximum(_highest_bit(magnitude) - 4, 0)
    code = (exponent << 4) | ((magnitude >> np.maximum(exponent, 1)) & 15)
    return (np.where(linear < 0, code, code | 0x80) ^ 0x55).astype(np.uint8)


def _highest_bit(magnitude: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Index of the highest set bit; -1 for 0."""
    return (np.frexp(magnitude.astype(np.float64))[1] - 1).astype(np.int32)


MULAW_TO_S16 = _mulaw_decode_table()
"""[256] int16 by code."""
ALAW_TO_S16 = _alaw_decode_table()
"""[256] int16 by code."""
S16_TO_MULAW = _mulaw_encode_table()
"""[65536] uint8 by the sample's 16 bits read as unsigned."""
S16_TO_ALAW = _alaw_encode_table()
"""[65536] uint8 by the sample's 16 bits read as unsigned."""

_MULAW_TO_FLOAT = from_s16(MULAW_TO_S16)
_ALAW_TO_FLOAT = from_s16(ALAW_TO_S16)
_MULAW_BY_LEVEL = np.concatenate((np.arange(0x7F), np.arange(0xFF, 0x7F, -1))).astype(np.uint8)
"""[255] from the lowest level to the highest; zero is 0xFF, not its mirror image 0x7F."""
_MULAW_LEVELS = _MULAW_TO_FLOAT[_MULAW_BY_LEVEL]
_MULAW_MIDDLES = (_MULAW_LEVELS[1:] + _MULAW_LEVELS[:-1]) / 2


def decode_mulaw(data: bytes) -> Samples:
    """mu-law codes to samples."""
    return _MULAW_TO_FLOAT[np.frombuffer(data, dtype=np.uint8)]


def decode_alaw(data: bytes) -> Samples:
    """A-law codes to samples."""
    return _ALAW_TO_FLOAT[np.frombuffer(data, dtype=np.uint8)]


def encode_mulaw(samples: Samples) -> bytes:
    """Samples to mu-law codes, as the standard decides them."""
    return S16_TO_MULAW[to_s16(samples).view(np.uint16)].tobytes()


def encode_alaw(samples: Samples) -> bytes:
    """Samples to A-law codes, as the standard decides them."""
    return S16_TO_ALAW[to_s16(samples).view(np.uint16)].tobytes()


def nearest_mulaw(samples: Samples) -> bytes:
    """Samples to the mu-law codes with the nearest levels.

    The standard truncates to 14 bits first and then decides otherwise for 1016 of the 65536 linear samples. The demo
    model learnt with telephones that take the nearest level, so the training keeps them.
    """
    return _MULAW_BY_LEVEL[np.searchsorted(_MULAW_MIDDLES, samples)].tobytes()
