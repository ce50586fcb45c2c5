"""Voice activity: where there is speech in Moshi's sound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.pcm import Samples

_BLOCK_SAMPLES = 240  # 10 ms
_AUDIBLE_DBFS = -45.0
_PAUSE_S = 0.3  # longer than any silence inside an answer's words
_MARGIN_S = 0.05


def audible(samples: Samples) -> NDArray[np.bool_]:
    """[N], full scale 1.0 -> for every 10 ms, whether anybody would call it sound."""
    blocks = samples[: len(samples) // _BLOCK_SAMPLES * _BLOCK_SAMPLES].reshape(-1, _BLOCK_SAMPLES)
    power = np.mean(np.square(blocks, dtype=np.float64), axis=1)
    loud: NDArray[np.bool_] = power > 10 ** (_AUDIBLE_DBFS / 10)
    return loud


def trimmed(samples: Samples) -> Samples:
    """Without the silence before and after; empty when there is no sound."""
    heard = np.flatnonzero(audible(samples))
    if not len(heard):
        return samples[:0]
    margin = round(_MARGIN_S * MODEL_RATE_HZ)
    return samples[max(0, heard[0] * _BLOCK_SAMPLES - margin) : (heard[-1] + 1) * _BLOCK_SAMPLES + margin]


def stops_after_s(samples: Samples, from_s: float) -> float | None:
    """Seconds from `from_s` until there is silence for a while; None when there is already silence at that time."""
    heard = audible(samples)
    start = round(from_s * MODEL_RATE_HZ) // _BLOCK_SAMPLES
    pause = round(_PAUSE_S * MODEL_RATE_HZ) // _BLOCK_SAMPLES
    if not heard[max(0, start - pause) : start + 1].any():
        return None
    for block in range(start, len(heard)):
        if not heard[block : block + pause].any():
            return (block - start) * _BLOCK_SAMPLES / MODEL_RATE_HZ
    return (len(heard) - start) * _BLOCK_SAMPLES / MODEL_RATE_HZ
