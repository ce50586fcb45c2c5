"""A linear layer with a low-rank adapter beside it (Hu et al. 2021, LoRA)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.layers.linear import Linear
from moshi_cluster.models.layers.projection import Projection


class AdaptedLinear:
    """y = x W^T + (x A^T) B^T, where B carries the adapter's scaling. W may be quantised."""

    def __init__(self, base: Projection, a: Tensor, b: Tensor) -> None:
        """a: [rank, in], b: [out, rank], on the device and in the type they run in."""
        self.out_features, self.in_features = base.out_features, base.in_features
        self.least_rows = base.least_rows
        self._base = base
        self._a, self._b = Linear(a), Linear(b)

    def __call__(self, x: Tensor) -> Tensor:
        """x: [N, in] -> [N, out]."""
        return self._b.add(self._a(x), self._base(x))

    def gelu(self, x: Tensor) -> Tensor:
        """x: [N, in] -> exact (erf) GELU of the product [N, out]."""
        return F.gelu(self(x))

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """x: [N, in], residual: [N, out] -> residual + the product [N, out]."""
        return self._b.add(self._a(x), self._base.add(x, residual))
