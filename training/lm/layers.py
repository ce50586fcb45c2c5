"""Layers of both Transformers. A leading axis of weights is for the steps of the Depth Transformer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-8


def normal(*shape: int, gain: float = 1.0) -> nn.Parameter:
    """A matrix [..., out, in] that keeps the size of what it multiplies, times `gain`."""
    return nn.Parameter(torch.randn(*shape) * (gain / math.sqrt(shape[-1])))


class TrainableRmsNorm(nn.Module):
    """y = x * alpha / sqrt(eps + mean(x^2))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., D] -> the same."""
        return F.rms_norm(x, self.alpha.shape, self.alpha, _EPS)


class TrainableTokenTables(nn.Module):
    """The embedding tables of several streams in one matrix."""

    def __init__(self, sizes: Sequence[int], dim: int, std: float) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.table = nn.Parameter(torch.randn(sum(sizes), dim) * std)
        self.first: Tensor
        self.register_buffer("first", torch.tensor([0, *sizes[:-1]]).cumsum(0), persistent=False)

    def each(self, tokens: Tensor) -> Tensor:
        """tokens: int64 [..., streams] -> [..., streams, D]."""
        return F.embedding(tokens + self.first, self.table)

    def sum(self, tokens: Tensor) -> Tensor:
        """tokens: int64 [..., streams] -> the sum over streams [..., D]."""
        rows = (tokens + self.first).flatten(0, -2)
        return F.embedding_bag(rows, self.table, mode="sum").view(*tokens.shape[:-1], -1)

    def split(self) -> list[Tensor]:
        """One table [vocabulary, D] per stream."""
        return list(self.table.detach().split(self.sizes))


class TrainableGatedFeedForward(nn.Module):
    """W_out (silu(a) * b), where W_in x = (a, b) (Shazeer 2020, SwiGLU)."""

    def __init__(self, dim: int, hidden_size: int, gain: float) -> None:
        super().__init__()
        self.linear_in = normal(2 * hidden_size, dim)
        self.linear_out = normal(dim, hidden_size, gain=gain)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., D] -> the branch [..., D]."""
        a, b = F.linear(x, self.linear_in).chunk(2, dim=-1)
        return F.linear(F.silu(a) * b, self.linear_out)


def attend(q: Tensor, k: Tensor, v: Tensor, unseen: Tensor) -> Tensor:
    """q, k, v: [..., T, D], unseen: [T, T], added to the scores -> [..., T, D].

    Written out: on CPU in bfloat16 it takes half the time of torch's fused kernel, forward and backward.
    """
    scores = torch.matmul(q * (1 / math.sqrt(q.shape[-1])), k.transpose(-1, -2)) + unseen.to(q.dtype)
    return torch.matmul(torch.softmax(scores, dim=-1, dtype=v.dtype), v)
