"""Training schedule of the codec: what is trained when."""

from __future__ import annotations

import math
from dataclasses import dataclass

CODES_FINAL = 0.6
"""Of the time. From here on encoder and codebooks stay as they are: a language model can be trained on the codes while
the decoder goes on learning, now against a discriminator."""

_WARM_UP_STEPS = 100
_PEAK = 1e-3
_DECODER_PEAK = 5e-4
_FLOOR = 0.05  # of the peak
_CODING_MOSHI_SHARE = 0.5
_DECODING_MOSHI_SHARE = 0.6  # the decoder is for Moshi; callers are never played back


@dataclass(frozen=True)
class Phase:
    """One point of the plan."""

    learning_rate: float
    codes_final: bool
    moshi_share: float  # of the crops


def phase(spent_s: float, budget_s: float, step: int, frozen_s: float | None) -> Phase:
    """spent_s of budget_s: processor time; step: counted from 0; frozen_s: when codes became final, None before.

    Once final they stay so, even when a resumed run is given more time.
    """
    if frozen_s is None and spent_s < CODES_FINAL * budget_s:
        warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
        return Phase(_PEAK * warm * _cosine(spent_s / (CODES_FINAL * budget_s)), False, _CODING_MOSHI_SHARE)
    start_s = spent_s if frozen_s is None else frozen_s
    return Phase(_DECODER_PEAK * _cosine((spent_s - start_s) / (budget_s - start_s)), True, _DECODING_MOSHI_SHARE)


def _cosine(x: float) -> float:
    """From 1 at x = 0 to _FLOOR at x = 1."""
    return _FLOOR + (1 - _FLOOR) * (1 + math.cos(math.pi * min(x, 1.0))) / 2
