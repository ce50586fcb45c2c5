"""The Depth Transformer in differentiable form: all codebooks of many frames at once."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moshi_cluster.models.moshi_lm.config import LmConfig
from training.lm.layers import TrainableRmsNorm, TrainableTokenTables, attend, normal


class TrainableDepthTransformer(nn.Module):
    """Every step has weights of its own, so the steps K are the leading axis of batched products [K, N, D]."""

    def __init__(self, config: LmConfig, hidden_size: int) -> None:
        super().__init__()
        dim, steps = config.depformer_dim, config.dep_q
        sizes = [config.text_card + 1] + [config.card + 1] * (steps - 1)
        self.tokens = TrainableTokenTables(sizes, dim, std=0.5)
        self.inputs = normal(steps, dim, config.dim)
        self.layers = nn.ModuleList(DepthLayer(config, hidden_size) for _ in range(config.depformer_num_layers))
        self.heads = normal(steps, config.card, dim)

    def forward(self, hidden: Tensor, raw: Tensor) -> Tensor:
        """hidden: [N, D] of the Temporal Transformer, raw: int64 [N, K], the token before each step's -> logits
        [K, N, card]."""
        x = _times(hidden.expand(len(self.inputs), -1, -1), self.inputs) + self.tokens.each(raw).transpose(0, 1)
        for layer in self.layers:
            x = layer(x)
        return _times(x, self.heads)


class DepthLayer(nn.Module):
    """x <- x + Attn(norm x); x <- x + FF(norm x); step k attends to steps 0..k of its own frame."""

    def __init__(self, config: LmConfig, hidden_size: int) -> None:
        super().__init__()
        dim, steps = config.depformer_dim, config.dep_q
        gain = 1 / math.sqrt(2 * config.depformer_num_layers)
        self._heads = config.depformer_num_heads
        self.attention_norm = TrainableRmsNorm(dim)
        self.in_proj = normal(steps, 3 * dim, dim)
        self.out_proj = normal(steps, dim, dim, gain=gain)
        self.feed_forward_norm = TrainableRmsNorm(dim)
        self.linear_in = normal(steps, 2 * hidden_size, dim)
        self.linear_out = normal(steps, dim, hidden_size, gain=gain)
        self.unseen: Tensor
        self.register_buffer("unseen", torch.full((steps, steps), -math.inf).triu(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [K, N, D] -> the same."""
        x = x + _times(self._attend(_times(self.attention_norm(x), self.in_proj)), self.out_proj)
        a, b = _times(self.feed_forward_norm(x), self.linear_in).chunk(2, dim=-1)
        return x + _times(F.silu(a) * b, self.linear_out)

    def _attend(self, qkv: Tensor) -> Tensor:
        """qkv: [K, N, 3 D] -> [K, N, D]."""
        qkv = qkv.unflatten(-1, (3, self._heads, -1)).permute(2, 1, 3, 0, 4)  # [3, N, heads, K, head_dim]
        q, k, v = qkv.contiguous().unbind(0)
        return attend(q, k, v, self.unseen).permute(2, 0, 1, 3).flatten(2)


def _times(x: Tensor, weights: Tensor) -> Tensor:
    """x: [K, N, in], weights: [K, out, in] -> [K, N, out]."""
    return torch.bmm(x, weights.transpose(1, 2))
