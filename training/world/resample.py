"""Sample rates changed in the frequency domain: exact up to the lower of the two band limits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from training.world.speech import Samples

_MARGIN = 960  # samples of silence, so that the transform's wrap-around is not heard
_LARGEST_DENOMINATOR = 2000


def resample(samples: Samples, factor: float) -> Samples:
    """Samples [N] -> [round(N * factor)]: the same sound at `factor` times the rate."""
    wanted = round(len(samples) * factor)
    ratio = Fraction(factor).limit_denominator(_LARGEST_DENOMINATOR)
    # Both transforms have even lengths in this very ratio.
    halves = -(-(len(samples) + _MARGIN) // (2 * ratio.denominator))
    before, after = 2 * ratio.denominator * halves, 2 * ratio.numerator * halves
    spectrum = np.fft.rfft(samples, before)
    kept = np.zeros(after // 2 + 1, dtype=spectrum.dtype)
    shared = min(len(spectrum), len(kept))
    kept[:shared] = spectrum[:shared]
    resampled = np.fft.irfft(kept, after) * (after / before)
    return resampled[:wanted].astype(np.float32)
