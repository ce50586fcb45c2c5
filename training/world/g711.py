"""Mu-law (ITU-T G.711): the 255 levels that a telephone's 8 bits can say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.world.speech import Samples

_LARGEST_CODE = 127


def mu_law(samples: Samples) -> Samples:
    """What is left of samples within -1 to 1."""
    return _LEVELS[_nearest(samples)]


def mu_law_bytes(samples: Samples) -> NDArray[np.uint8]:
    """The same as it travels: the sign in the highest bit, all bits inverted."""
    code = _nearest(samples).astype(np.int64) - _LARGEST_CODE
    return np.where(code >= 0, 0xFF - code, 0x7F + code).astype(np.uint8)


def _nearest(samples: Samples) -> NDArray[np.intp]:
    return np.searchsorted(_MIDDLES, samples)


def _levels() -> Samples:
    """In order, full scale 1.0. Within a segment the steps are equal, from segment to segment they double."""
    step, segment = np.arange(16), np.arange(8)[:, None]
    magnitudes = (((2 * step + 33) << segment) - 33).ravel() * 4
    return np.concatenate([-magnitudes[:0:-1], magnitudes]).astype(np.float32) * np.float32(1 / 32768)


_LEVELS = _levels()
_MIDDLES = (_LEVELS[1:] + _LEVELS[:-1]) / 2
