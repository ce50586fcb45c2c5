"""Matrix products over the steps of several sessions: a session's result does not depend on those beside it."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.layers.linear import Linear
from moshi_cluster.models.layers.placement import on_cpu

_SMALL_MATRIX = 16384
_LITTLE_WORK = 1 << 20
"""Weights, and multiplications per session and frame, up to which products one per session are faster. Measured: one
packed product for all costs 15 microseconds however small it is, a batch of products 3 to 5. Both take as long at 8 to
16 sessions for such a matrix and two steps, at more than 16 for many steps; larger matrices are read too often."""
_LINE = 16  # floats of the cache


class Product(Protocol):
    """y = x W^T + b, from x [N, T, in] to y [N, T, out]."""

    in_features: int
    out_features: int

    def __call__(self, x: Tensor) -> Tensor: ...

    def gelu(self, x: Tensor) -> Tensor:
        """Exact (erf) GELU of y."""

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """y + residual: [N, T, out]."""


def product(weight: Tensor, bias: Tensor | None, steps: int) -> Product:
    """weight: [out, in]; bias: [out]; steps: T of a frame, any T is a multiple of it."""
    small = weight.numel() <= _SMALL_MATRIX and steps * weight.numel() <= _LITTLE_WORK
    one_per_session = small and on_cpu(weight.device) and OnePerSession.is_safe(weight, steps)
    return OnePerSession(weight, bias) if one_per_session else _OneForAll(weight, bias)


class OnePerSession:
    """A batch of products, one per session: the same kernel for each, whatever their number."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.out_features, self.in_features = weight.shape
        self._weight = weight.T.contiguous()
        self._bias = bias

    @staticmethod
    def is_safe(weight: Tensor, steps: int) -> bool:
        """Whether a kernel cannot tell one session from another.

        It could by where their numbers begin in a line of the cache, and by having several threads, which share the
        work of one session but not that of many. A single output would be a product of vectors, which sums otherwise.
        """
        aligned = all(steps * width % _LINE == 0 for width in weight.shape)
        return aligned and weight.shape[0] >= _LINE and torch.get_num_threads() == 1

    def __call__(self, x: Tensor) -> Tensor:
        weight = self._weight.expand(x.shape[0], -1, -1)
        x = x.contiguous()  # windows that overlap would go through a slow path
        return torch.bmm(x, weight) if self._bias is None else torch.baddbmm(self._bias, x, weight)

    def gelu(self, x: Tensor) -> Tensor:
        return F.gelu(self(x))

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        weight = self._weight.expand(x.shape[0], -1, -1)
        if self._bias is None:
            return torch.baddbmm(residual, x, weight)
        return torch.add(residual, self._bias).baddbmm_(x, weight)


class _OneForAll:
    """One product, whose rows do not depend on each other."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.out_features, self.in_features = weight.shape
        self._linear = Linear(weight, bias)

    def __call__(self, x: Tensor) -> Tensor:
        return self._linear(x.flatten(0, 1)).view(x.shape[0], -1, self.out_features)

    def gelu(self, x: Tensor) -> Tensor:
        return self._linear.gelu(x.flatten(0, 1)).view(x.shape[0], -1, self.out_features)

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        return self._linear.add(x.flatten(0, 1), residual.flatten(0, 1)).view(residual.shape)
