"""Linear PCM: float samples as the model wants them, 16-bit integers, and the bytes of both."""

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
"""Mono samples [samples], nominal range -1 to 1."""

MAX_MAGNITUDE = 8.0
"""A sample beyond this is a broken sender, not a loud one."""

S16_FULL_SCALE = 32_768.0


class MalformedAudio(ValueError):
    """Bytes that are no audio of the format they should have."""


def from_s16(linear: npt.NDArray[np.int16]) -> Samples:
    """16-bit samples divided by 32768, so -1 <= x < 1."""
    return linear.astype(np.float32) * np.float32(1.0 / S16_FULL_SCALE)


def to_s16(samples: Samples) -> npt.NDArray[np.int16]:
    """Samples times 32768, rounded half to even, clipped to -32768..32767. The inverse of `from_s16`."""
    scaled = samples * np.float32(S16_FULL_SCALE)
    np.rint(scaled, out=scaled)
    np.minimum(scaled, np.float32(32_767.0), out=scaled)
    np.maximum(scaled, np.float32(-32_768.0), out=scaled)
    return scaled.astype(np.int16)


def decode_s16le(data: bytes) -> Samples:
    """16-bit little-endian bytes to samples."""
    return from_s16(np.frombuffer(data, dtype="<i2"))


def encode_s16le(samples: Samples) -> bytes:
    """Samples to 16-bit little-endian bytes, clipped to full scale."""
    return to_s16(samples).astype("<i2", copy=False).tobytes()


def decode_s16be(data: bytes) -> Samples:
    """16-bit big-endian bytes, L16 of RFC 3551, to samples."""
    return from_s16(np.frombuffer(data, dtype=">i2"))


def encode_s16be(samples: Samples) -> bytes:
    """Samples to 16-bit big-endian bytes, clipped to full scale."""
    return to_s16(samples).astype(">i2").tobytes()


def decode_f32le(data: bytes) -> Samples:
    """32-bit little-endian floats to samples.

    Raises MalformedAudio for NaN, infinities and absurd magnitudes: one would poison a codec row for good.
    """
    samples = np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)
    # Written so that NaN, which compares false with everything, is refused too.
    if samples.size and not (samples.max() <= MAX_MAGNITUDE and samples.min() >= -MAX_MAGNITUDE):
        raise MalformedAudio(f"samples must be finite and at most {MAX_MAGNITUDE:g} in magnitude")
    return samples


def bounded(samples: Samples) -> Samples:
    """Samples clipped to MAX_MAGNITUDE: of a square wave at the limit a filter makes more than any service accepts."""
    return np.clip(samples, -MAX_MAGNITUDE, MAX_MAGNITUDE)


def encode_f32le(samples: Samples) -> bytes:
    """Samples to 32-bit little-endian floats, as they are."""
    return samples.astype("<f4", copy=False).tobytes()
