"""SEANet, the convolutional halves of Mimi (Tagliasacchi et al. 2020, arXiv 2009.02095; docs/model.md 1.3).

Encoder and decoder work on [N, T, D]. `history_shapes` lists the (steps, width) that their layers remember, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from moshi_cluster.models.layers.placement import on_cpu
from moshi_cluster.models.mimi.config import MimiConfig
from moshi_cluster.models.mimi.convolution import CausalConv, CausalTransposedConv, steps_per_row, toeplitz
from moshi_cluster.models.mimi.elu import elu
from moshi_cluster.models.mimi.product import product
from moshi_cluster.models.mimi.weights import MimiWeights

_LONG_STAGES = 1
_GROUP_FLOATS = 65536
"""The stages next to the samples run a group of sessions after the other on CPU, as many as have this many activations
in a layer: with 1920 steps per frame more rows do not make the products faster, but a group stays in the cache."""


class _SeanetLayer(Protocol):
    history_shape: tuple[int, int]

    def __call__(self, x: Tensor, history: Tensor, /) -> Tensor: ...


class ResidualBlock:
    """x + conv1(elu(conv(elu(x)))), narrower inside."""

    def __init__(self, weights: MimiWeights, name: str, width: int, steps: int, config: MimiConfig) -> None:
        """steps: T of a frame."""
        inner = width // config.compress
        self._conv = _conv(weights, f"{name}.block.1", (inner, width, config.residual_kernel), steps)
        pointwise = weights.get(f"{name}.block.3.conv.conv.weight", width, inner, 1)
        bias = weights.get(f"{name}.block.3.conv.conv.bias", width)
        block = steps_per_row(width, steps)
        self._pointwise = product(toeplitz(pointwise, 1, block), bias.repeat(block), steps // block)
        self.history_shape = self._conv.history_shape

    def __call__(self, x: Tensor, history: Tensor) -> Tensor:
        """x: [N, T, width] -> the same shape."""
        N, last = x.shape[0], self._pointwise
        inner = elu(self._conv(x, history)).view(N, -1, last.in_features)
        return last.add(inner, x.view(N, -1, last.out_features)).view(x.shape)


class SeanetEncoder:
    """Samples [N, T * hop, 1] -> latents [N, T, latent_width]."""

    def __init__(self, weights: MimiWeights, config: MimiConfig) -> None:
        width, steps = config.base_filters, config.frame_samples
        self._width = width
        layers: list[_SeanetLayer] = [
            _conv(weights, "encoder.model.0", (width, 1, config.kernel), steps, after_elu=False)
        ]
        for ratio in reversed(config.ratios):
            index = _next_index(layers)
            layers.append(ResidualBlock(weights, f"encoder.model.{index}", width, steps, config))
            steps //= ratio
            layers.append(_conv(weights, f"encoder.model.{index + 2}", (2 * width, width, 2 * ratio), steps, ratio))
            width *= 2
        last = (config.latent_width, width, config.last_kernel)
        layers.append(_conv(weights, f"encoder.model.{_next_index(layers) + 1}", last, steps))
        split = 1 + 2 * _LONG_STAGES
        self._long, self._short = layers[:split], layers[split:]
        self.history_shapes = [layer.history_shape for layer in layers]

    def __call__(self, x: Tensor, histories: Sequence[Tensor]) -> Tensor:
        """x: [N, T * hop, 1] -> [N, T, latent_width]; histories: one per layer, advanced in place."""
        split = len(self._long)
        floats = x.shape[1] * self._width
        return _run(self._short, _run_long(self._long, x, histories[:split], floats), histories[split:])


class SeanetDecoder:
    """Latents [N, T, latent_width] -> samples [N, T * hop, 1]."""

    def __init__(self, weights: MimiWeights, config: MimiConfig) -> None:
        width, steps = config.base_filters * 2 ** len(config.ratios), config.positions_per_frame
        first = (width, config.latent_width, config.kernel)
        layers: list[_SeanetLayer] = [_conv(weights, "decoder.model.0", first, steps, after_elu=False)]
        for ratio in config.ratios:
            index = _next_index(layers) + 1
            layers.append(_transposed(weights, f"decoder.model.{index}", (width, width // 2, 2 * ratio), steps, ratio))
            width //= 2
            steps *= ratio
            layers.append(ResidualBlock(weights, f"decoder.model.{index + 1}", width, steps, config))
        last = (1, width, config.last_kernel)
        layers.append(_conv(weights, f"decoder.model.{_next_index(layers) + 1}", last, steps))
        self._floats_per_position = config.hop_samples * width
        split = len(layers) - 1 - 2 * _LONG_STAGES
        self._short, self._long = layers[:split], layers[split:]
        self.history_shapes = [layer.history_shape for layer in layers]

    def __call__(self, x: Tensor, histories: Sequence[Tensor]) -> Tensor:
        """x: [N, T, latent_width] -> [N, T * hop, 1]; histories: one per layer, advanced in place."""
        split = len(self._short)
        floats = x.shape[1] * self._floats_per_position
        return _run_long(self._long, _run(self._short, x, histories[:split]), histories[split:], floats)


def _run(layers: Sequence[_SeanetLayer], x: Tensor, histories: Sequence[Tensor]) -> Tensor:
    for layer, history in zip(layers, histories, strict=True):
        x = layer(x, history)
    return x


def _run_long(layers: Sequence[_SeanetLayer], x: Tensor, histories: Sequence[Tensor], floats: int) -> Tensor:
    """floats: activations of a session in one layer."""
    group = max(1, _GROUP_FLOATS // floats)
    if not on_cpu(x.device) or x.shape[0] <= group:
        return _run(layers, x, histories)
    pasts = zip(*(history.split(group) for history in histories), strict=True)
    return torch.cat([_run(layers, rows, past) for rows, past in zip(x.split(group), pasts, strict=True)])


def _next_index(layers: Sequence[_SeanetLayer]) -> int:
    """Number of the module after these: a stage counts residual block, ELU and convolution, 3 modules for 2 layers."""
    return 1 + (len(layers) - 1) // 2 * 3


def _conv(
    weights: MimiWeights, name: str, shape: tuple[int, int, int], steps: int, stride: int = 1, after_elu: bool = True
) -> CausalConv:
    weight = weights.get(f"{name}.conv.conv.weight", *shape)
    return CausalConv(weight, weights.get(f"{name}.conv.conv.bias", shape[0]), steps, stride, after_elu)


def _transposed(
    weights: MimiWeights, name: str, shape: tuple[int, int, int], steps: int, stride: int
) -> CausalTransposedConv:
    weight = weights.get(f"{name}.convtr.convtr.weight", *shape)
    bias = weights.get(f"{name}.convtr.convtr.bias", shape[1])
    return CausalTransposedConv(weight, bias, steps, stride)
