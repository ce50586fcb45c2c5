"""Mimi's Transformers, differentiable, with the published parameter names (docs/model.md 1.4)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moshi_cluster.models.layers.rope import Rope
from moshi_cluster.models.mimi import MimiConfig
from training.mimi.naming import NamedLayers

_LAYER_SCALE = 0.1  # ten times the published start: a short training cannot wait for the branches to grow


class TrainableTransformer(nn.Module):
    """Pre-norm layers without a final norm; parameters are named transformer.layers.N."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        self.transformer = NamedLayers([TrainableTransformerLayer(config) for _ in range(config.layers)])
        self._context = config.context
        self._rope = Rope(config.head_width, config.max_period)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D] -> the same shape."""
        position = torch.arange(x.shape[1])
        behind = position[:, None] - position
        visible = (behind >= 0) & (behind < self._context)
        cos, sin = self._rope.angles(position)
        for layer in self.transformer.layers:
            x = layer(x, visible, (cos[:, 0], sin[:, 0]))
        return x


class SelfAttention(nn.Module):
    """Queries, keys and values from one matrix; rotary positions, interleaved pairs."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        width = config.latent_width
        self.in_proj_weight = nn.Parameter(_uniform(3 * width, width))
        self.out_proj = nn.Linear(width, width, bias=False)
        self._heads = config.heads

    def forward(self, x: Tensor, visible: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """x: [B, T, D], visible: bool [T, T], rotation: cos and sin [T, head_width / 2] -> [B, T, D]."""
        B, T, width = x.shape
        q, k, v = F.linear(x, self.in_proj_weight).view(B, T, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(_turn(q, rotation), _turn(k, rotation), v, attn_mask=visible)
        projected: Tensor = self.out_proj(out.transpose(1, 2).reshape(B, T, width))
        return projected


class LayerScale(nn.Module):
    """A factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), _LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., D] -> the same shape."""
        return self.scale * x


class TrainableTransformerLayer(nn.Module):
    """x + s1 * attention(norm1 x), then x + s2 * feed_forward(norm2 x)."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        width, hidden = config.latent_width, config.feed_forward
        self.self_attn = SelfAttention(config)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, hidden, bias=False)
        self.linear2 = nn.Linear(hidden, width, bias=False)
        self.layer_scale_1, self.layer_scale_2 = LayerScale(width), LayerScale(width)

    def forward(self, x: Tensor, visible: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """x: [B, T, D], see SelfAttention -> the same shape."""
        x = x + self.layer_scale_1(self.self_attn(self.norm1(x), visible, rotation))
        out: Tensor = x + self.layer_scale_2(self.linear2(F.gelu(self.linear1(self.norm2(x)))))
        return out


def _turn(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotation
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def _uniform(outputs: int, inputs: int) -> Tensor:
    bound = 1 / math.sqrt(inputs)
    return torch.empty(outputs, inputs).uniform_(-bound, bound)
