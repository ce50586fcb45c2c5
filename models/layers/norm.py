"""Normalisation layers."""

from __future__ import annotations

import torch
from torch import Tensor

_RMS_EPS = 1e-8


class RmsNorm:
    """y = x * alpha / sqrt(eps + mean(x^2)), in float32 whatever the type of x (Zhang and Sennrich 2019)."""

    def __init__(self, alpha: Tensor) -> None:
        """alpha: [D], or [1, 1, D] as published."""
        self._alpha = alpha.flatten().float()

    def __call__(self, x: Tensor) -> Tensor:
        """x: [..., D] -> the same shape and type."""
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + _RMS_EPS)
        return (wide * (self._alpha * scale)).to(x.dtype)
