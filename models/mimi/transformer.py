"""Mimi's Transformer between SEANet and the quantiser, one in either half (docs/model.md 1.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.mimi.attention import Attend
from moshi_cluster.models.mimi.config import MimiConfig
from moshi_cluster.models.mimi.product import product
from moshi_cluster.models.mimi.weights import MimiWeights

_LAYER_NORM_EPS = 1e-5


class MimiTransformer:
    """Pre-norm layers without a final norm."""

    def __init__(self, weights: MimiWeights, name: str, config: MimiConfig) -> None:
        """name: encoder_transformer or decoder_transformer."""
        names = [f"{name}.transformer.layers.{index}" for index in range(config.layers)]
        self._layers = [MimiTransformerLayer(weights, name, config) for name in names]

    def __call__(self, x: Tensor, attend: Attend) -> Tensor:
        """x: [N, T, D] -> the same shape."""
        for index, layer in enumerate(self._layers):
            x = layer(x, index, attend)
        return x


class MimiTransformerLayer:
    """x + s1 * attention(norm1 x), then x + s2 * feed_forward(norm2 x)."""

    def __init__(self, weights: MimiWeights, name: str, config: MimiConfig) -> None:
        width, hidden, steps = config.latent_width, config.feed_forward, config.positions_per_frame
        self._heads, self._head_width = config.heads, config.head_width
        self._norm1, self._norm2 = (MimiLayerNorm(weights, f"{name}.norm{index}", width) for index in (1, 2))
        self._in = product(weights.get(f"{name}.self_attn.in_proj_weight", 3 * width, width), None, steps)
        self._up = product(weights.get(f"{name}.linear1.weight", hidden, width), None, steps)
        # LayerScale multiplies the outputs of the last product of either branch: the rows of its matrix.
        scale1, scale2 = (weights.get(f"{name}.layer_scale_{index}.scale", width) for index in (1, 2))
        out = weights.get(f"{name}.self_attn.out_proj.weight", width, width)
        down = weights.get(f"{name}.linear2.weight", width, hidden)
        self._out = product(scale1[:, None] * out, None, steps)
        self._down = product(scale2[:, None] * down, None, steps)

    def __call__(self, x: Tensor, index: int, attend: Attend) -> Tensor:
        """x: [N, T, D] -> the same shape; index: which layer it is."""
        x = self._out.add(self._attention(self._norm1(x), index, attend), x)
        return self._down.add(self._up.gelu(self._norm2(x)), x)

    def _attention(self, x: Tensor, index: int, attend: Attend) -> Tensor:
        N, T, width = x.shape
        qkv = self._in(x)
        qk = qkv[:, :, : 2 * width].view(N * T, 2 * self._heads, self._head_width // 2, 2)
        rotated = torch.view_as_real(torch.view_as_complex(qk) * attend.rotation)
        q, k = rotated.view(N, T, 2, self._heads, self._head_width).unbind(2)
        v = qkv[:, :, 2 * width :].view(N, T, self._heads, self._head_width)
        return attend(index, q, k, v).reshape(x.shape)


class MimiLayerNorm:
    """Over the last axis, with weight and bias."""

    def __init__(self, weights: MimiWeights, name: str, width: int) -> None:
        self._shape = (width,)
        self._weight = weights.get(f"{name}.weight", width)
        self._bias = weights.get(f"{name}.bias", width)

    def __call__(self, x: Tensor) -> Tensor:
        """x: [..., width] -> the same shape."""
        return F.layer_norm(x, self._shape, self._weight, self._bias, _LAYER_NORM_EPS)
