"""RMS normalisation (Zhang and Sennrich 2019, arXiv 1910.07467; docs/model.md 2.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from moshi_cluster.models.kernels.elementwise import rms_norm
from moshi_cluster.models.layers.placement import on_cpu


class RmsNorm:
    """y = x * alpha / sqrt(eps + mean(x^2)), in float32 whatever the type of x (Zhang and Sennrich 2019).

    Written as x * (alpha * sqrt(D)) / sqrt(|x|^2 + D * eps): a norm and a hypot are two calls where the textbook form
    takes five, and on CPU a call costs as much as its arithmetic.
    """

    def __init__(self, alpha: Tensor, eps: float = 1e-8) -> None:
        """alpha: [D], or [1, 1, D] as published."""
        size = alpha.numel()
        self._alpha, self._eps = alpha.flatten().float(), eps
        self._scaled_alpha = self._alpha * math.sqrt(size)
        self._floor = torch.tensor(math.sqrt(size * eps), device=alpha.device)

    def __call__(self, x: Tensor) -> Tensor:
        """x: [..., D] -> the same shape and type."""
        if not on_cpu(x.device):
            return rms_norm(x, self._alpha, self._eps)
        wide = x.float()
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).hypot_(self._floor)
        return torch.div(self._scaled_alpha, length).mul_(wide).type_as(x)
