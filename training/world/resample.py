"""Sample rates changed in the frequency domain: exact up to the lower of the two band limits."""

from __future__ import annotations

import numpy as np

from training.world.speech import Samples


def resample(samples: Samples, factor: float) -> Samples:
    """Samples [N] -> [round(N * factor)]: the same sound at `factor` times the rate.

    The ends are padded with silence so that the transform's wrap-around is not heard.
    """
    wanted = round(len(samples) * factor)
    margin = 64
    padded = _fast_length(len(samples) + margin)
    spectrum = np.fft.rfft(samples, padded)
    out = round(padded * factor)
    out += out % 2
    kept = np.zeros(out // 2 + 1, dtype=spectrum.dtype)
    shared = min(len(spectrum), len(kept))
    kept[:shared] = spectrum[:shared]
    resampled = np.fft.irfft(kept, out) * (out / padded)
    return resampled[:wanted].astype(np.float32)


def _fast_length(minimum: int) -> int:
    """A multiple of 960: its factors are small, and so are those of most lengths at the other rate."""
    return -(-minimum // 960) * 960
