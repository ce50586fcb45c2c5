"""SEANet, the convolutional halves of Mimi (Tagliasacchi et al. 2020, arXiv 2009.02095; facts table 1.3).

Both halves work on [N, T, D]. `history_shapes` lists the (steps, width) that their convolutions remember, in order.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from models.layers.linear import Linear
from models.mimi.config import MimiConfig
from models.mimi.convolution import CausalConv, CausalTransposedConv
from models.mimi.weights import Weights


class ResidualBlock:
    """x + conv1(elu(conv(elu(x)))), narrower inside."""

    def __init__(self, weights: Weights, name: str, width: int, config: MimiConfig) -> None:
        inner = width // config.compress
        self._conv = _conv(weights, f"{name}.block.1", (inner, width, config.residual_kernel))
        pointwise = weights.get(f"{name}.block.3.conv.conv.weight", width, inner, 1)
        self._pointwise = Linear(pointwise.squeeze(2), weights.get(f"{name}.block.3.conv.conv.bias", width))
        self.history_shape = self._conv.history_shape

    def __call__(self, x: Tensor, history: Tensor) -> Tensor:
        """x: [N, T, width] -> the same shape."""
        inner = F.elu_(self._conv(x, history, elu=True))
        return self._pointwise.add(inner.flatten(0, 1), x.flatten(0, 1)).view(x.shape)


class SeanetEncoder:
    """Samples [N, T * hop, 1] -> latents [N, T, latent_width]."""

    def __init__(self, weights: Weights, config: MimiConfig) -> None:
        width = config.base_filters
        self._first = _conv(weights, "encoder.model.0", (width, 1, config.kernel))
        self._stages: list[tuple[ResidualBlock, CausalConv]] = []
        for stage, ratio in enumerate(reversed(config.ratios)):
            block = ResidualBlock(weights, f"encoder.model.{3 * stage + 1}", width, config)
            shape = (2 * width, width, 2 * ratio)
            self._stages.append((block, _conv(weights, f"encoder.model.{3 * stage + 3}", shape, ratio)))
            width *= 2
        name = f"encoder.model.{3 * len(self._stages) + 2}"
        self._last = _conv(weights, name, (config.latent_width, width, config.last_kernel))
        convs = [self._first, *(part for stage in self._stages for part in stage), self._last]
        self.history_shapes = [conv.history_shape for conv in convs]

    def __call__(self, x: Tensor, histories: list[Tensor]) -> Tensor:
        """x: [N, T * hop, 1] -> [N, T, latent_width]; histories: one per convolution, advanced in place."""
        past = iter(histories)
        x = self._first(x, next(past))
        for block, down in self._stages:
            x = block(x, next(past))
            x = down(x, next(past), elu=True)
        return self._last(x, next(past), elu=True)


class SeanetDecoder:
    """Latents [N, T, latent_width] -> samples [N, T * hop, 1]."""

    def __init__(self, weights: Weights, config: MimiConfig) -> None:
        width = config.base_filters * 2 ** len(config.ratios)
        self._first = _conv(weights, "decoder.model.0", (width, config.latent_width, config.kernel))
        self._stages: list[tuple[CausalTransposedConv, ResidualBlock]] = []
        for stage, ratio in enumerate(config.ratios):
            up = _transposed(weights, f"decoder.model.{3 * stage + 2}", (width, width // 2, 2 * ratio), ratio)
            width //= 2
            self._stages.append((up, ResidualBlock(weights, f"decoder.model.{3 * stage + 3}", width, config)))
        self._last = _conv(weights, f"decoder.model.{3 * len(self._stages) + 2}", (1, width, config.last_kernel))
        convs = [self._first, *(part for stage in self._stages for part in stage), self._last]
        self.history_shapes = [conv.history_shape for conv in convs]

    def __call__(self, x: Tensor, histories: list[Tensor]) -> Tensor:
        """x: [N, T, latent_width] -> [N, T * hop, 1]; histories: one per convolution, advanced in place."""
        past = iter(histories)
        x = self._first(x, next(past))
        for up, block in self._stages:
            x = up(x, next(past), elu=True)
            x = block(x, next(past))
        return self._last(x, next(past), elu=True)


def _conv(weights: Weights, name: str, shape: tuple[int, int, int], stride: int = 1) -> CausalConv:
    weight = weights.get(f"{name}.conv.conv.weight", *shape)
    return CausalConv(weight, weights.get(f"{name}.conv.conv.bias", shape[0]), stride)


def _transposed(weights: Weights, name: str, shape: tuple[int, int, int], stride: int) -> CausalTransposedConv:
    weight = weights.get(f"{name}.convtr.convtr.weight", *shape)
    return CausalTransposedConv(weight, weights.get(f"{name}.convtr.convtr.bias", shape[1]), stride)
