"""Feed-forward blocks of Transformer layers, gated and plain (docs/model.md 2.3)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.kernels.elementwise import silu_gate
from moshi_cluster.models.layers.placement import on_cpu
from moshi_cluster.models.moshi_lm.weights import LmWeights


class GatedFeedForward:
    """x + W_out (silu(a) * b), where W_in x = (a, b) (Shazeer 2020, SwiGLU)."""

    def __init__(self, weights: LmWeights, name: str, dim: int) -> None:
        """name: of the gate, with the block where every step has its own."""
        self._in = weights.linear(f"{name}.linear_in", None, dim)
        self._out = weights.linear(f"{name}.linear_out", dim, self._in.out_features // 2)

    def __call__(self, x: Tensor, residual: Tensor) -> Tensor:
        """x, residual: [N, D] -> residual + the branch of x."""
        inside = self._in(x)
        if not on_cpu(x.device):
            return self._out.add(silu_gate(inside), residual)
        a, b = inside.chunk(2, dim=1)
        return self._out.add(F.silu(a).mul_(b), residual)


class PlainFeedForward:
    """x + W_2 gelu(W_1 x)."""

    def __init__(self, weights: LmWeights, layer: str, dim: int) -> None:
        self._in = weights.linear(f"{layer}.linear1", None, dim)
        self._out = weights.linear(f"{layer}.linear2", dim, self._in.out_features)

    def __call__(self, x: Tensor, residual: Tensor) -> Tensor:
        """x, residual: [N, D] -> residual + the branch of x."""
        return self._out.add(self._in.gelu(x), residual)


FeedForward = GatedFeedForward | PlainFeedForward


def load_feed_forward(weights: LmWeights, layer: str, gating: str, dim: int) -> FeedForward:
    """gating: config.json's."""
    if gating == "silu":
        return GatedFeedForward(weights, f"{layer}.gating", dim)
    return PlainFeedForward(weights, layer, dim)
