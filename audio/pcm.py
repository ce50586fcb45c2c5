"""Samples as the model wants them, and linear PCM bytes to and from them."""

import numpy as np
import numpy.typing as npt

from moshi_cluster.services.common.checks import MAX_MAGNITUDE
from moshi_cluster.services.common.errors import InvalidInput

Samples = npt.NDArray[np.float32]
"""Mono samples [samples], nominal range -1 to 1."""

MODEL_RATE_HZ = 24_000
FRAME_SAMPLES = 1_920
FRAME_S = FRAME_SAMPLES / MODEL_RATE_HZ

S16_FULL_SCALE = 32_768.0


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
    return from_s16(np.frombuffer(data, dtype="<i2"))


def encode_s16le(samples: Samples) -> bytes:
    return to_s16(samples).astype("<i2", copy=False).tobytes()


def decode_f32le(data: bytes) -> Samples:
    """Raises InvalidInput for NaN, infinities and absurd magnitudes: one of them would poison a codec row for good."""
    samples = np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)
    # Written so that NaN, which compares false with everything, is refused too.
    if samples.size and not (samples.max() <= MAX_MAGNITUDE and samples.min() >= -MAX_MAGNITUDE):
        raise InvalidInput("audio.data", f"samples must be finite and at most {MAX_MAGNITUDE:g} in magnitude")
    return samples


def bounded(samples: Samples) -> Samples:
    """A filter overshoots: of a square wave at the limit more would come out than any service accepts."""
    return np.clip(samples, -MAX_MAGNITUDE, MAX_MAGNITUDE)


def encode_f32le(samples: Samples) -> bytes:
    return samples.astype("<f4", copy=False).tobytes()
