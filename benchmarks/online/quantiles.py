"""Percentiles as this benchmark reports them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def quantile(values: Sequence[float] | NDArray[np.float64], q: float) -> float:
    """The smallest value that at least the share `q` does not exceed, one of the values itself; nan of none."""
    if len(values) == 0:
        return math.nan
    return float(np.quantile(np.asarray(values, dtype=np.float64), q, method="inverted_cdf"))


def ratio(part: float, whole: float) -> float:
    """part / whole; nan of nothing."""
    return part / whole if whole else math.nan
