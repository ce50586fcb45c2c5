"""ITU-T G.711 in plain Python: 16-bit samples to one byte each and back."""

from __future__ import annotations

from array import array

# mu-law works on the upper 14 bits of a sample, A-law on the upper 13.
_ULAW_BIAS = 33
_ULAW_BIASED_MAX = 8191
_ALAW_INVERTED = 0x55  # every other bit is inverted on the line


def encode_ulaw(samples: array[int]) -> bytes:
    """16-bit samples -> mu-law bytes."""
    return bytes(map(_ulaw_byte, samples))


def decode_ulaw(data: bytes) -> array[int]:
    """mu-law bytes -> 16-bit samples."""
    return array("h", map(_ulaw_sample, data))


def encode_alaw(samples: array[int]) -> bytes:
    """16-bit samples -> A-law bytes."""
    return bytes(map(_alaw_byte, samples))


def decode_alaw(data: bytes) -> array[int]:
    """A-law bytes -> 16-bit samples."""
    return array("h", map(_alaw_sample, data))


def _ulaw_byte(sample: int) -> int:
    magnitude = min(abs(sample >> 2) + _ULAW_BIAS, _ULAW_BIASED_MAX)
    exponent = magnitude.bit_length() - 6
    mantissa = (magnitude >> (exponent + 1)) & 0x0F
    return ~((0x80 if sample < 0 else 0) | exponent << 4 | mantissa) & 0xFF


def _ulaw_sample(byte: int) -> int:
    bits = ~byte & 0xFF
    magnitude = ((((bits & 0x0F) << 1) + _ULAW_BIAS) << (bits >> 4 & 0x07)) - _ULAW_BIAS
    return (-magnitude if bits & 0x80 else magnitude) << 2


def _alaw_byte(sample: int) -> int:
    magnitude = (sample if sample >= 0 else ~sample) >> 3
    exponent = max(magnitude.bit_length() - 5, 0)
    mantissa = (magnitude >> max(exponent, 1)) & 0x0F
    return ((0x80 if sample >= 0 else 0) | exponent << 4 | mantissa) ^ _ALAW_INVERTED


def _alaw_sample(byte: int) -> int:
    bits = byte ^ _ALAW_INVERTED
    exponent = bits >> 4 & 0x07
    step = ((bits & 0x0F) << 4) + 8  # the middle of the step
    magnitude = step if exponent == 0 else (step + 0x100) << (exponent - 1)
    return magnitude if bits & 0x80 else -magnitude
