"""Resampling of a whole recording in the frequency domain: exact up to the lower of the two band limits, no delay.

For what lies there as a whole. A call, which comes piece by piece, is resampled by `resample.Resampler`.
"""

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from moshi_cluster.audio.pcm import Samples

_MARGIN_SAMPLES = 960  # of silence, so that the transform's wrap-around is not heard
_LARGEST_DENOMINATOR = 2000


def resample_recording(samples: Samples, factor: float) -> Samples:
    """Samples [N] to [round(N * factor)]: the same sound at `factor` times the rate."""
    ratio = Fraction(factor).limit_denominator(_LARGEST_DENOMINATOR)
    # Both transforms have even lengths in this very ratio.
    halves = -(-(samples.size + _MARGIN_SAMPLES) // (2 * ratio.denominator))
    padded_samples = 2 * ratio.denominator * halves
    resampled = _resampled(samples, padded_samples, 2 * ratio.numerator * halves)
    return resampled[: round(samples.size * factor)].astype(np.float32)


def resample_loop(samples: Samples, count: int) -> Samples:
    """One turn [N] of a sound that repeats for ever to one turn [count] of it at count / N times the rate."""
    return _resampled(samples.astype(np.float64), samples.size, count).astype(np.float32)


def _resampled(samples: npt.NDArray[Any], before: int, after: int) -> npt.NDArray[Any]:
    """A transform of `before` samples, those missing zero, to `after` samples."""
    spectrum = np.fft.rfft(samples, before)
    kept = np.zeros(after // 2 + 1, dtype=spectrum.dtype)
    shared = min(spectrum.size, kept.size)
    kept[:shared] = spectrum[:shared]
    return np.fft.irfft(kept, after) * (after / before)
