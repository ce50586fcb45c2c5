"""SEANet, the convolutional halves of Mimi, with the published parameter names (docs/model.md 1.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moshi_cluster.models.mimi import MimiConfig
from training.mimi.convolution import TrainableCausalConv, TrainableCausalTransposedConv

_FULL_RATE_BLOCK = 8
"""Output steps per matrix row next to the samples; deeper layers are wide enough for fewer."""


class TrainableResidualBlock(nn.Module):
    """x + conv1(elu(conv(elu(x)))), narrower inside."""

    def __init__(self, width: int, config: MimiConfig, block: int) -> None:
        super().__init__()
        inner = width // config.compress
        first = TrainableCausalConv(width, inner, config.residual_kernel, block=block)
        self.block = nn.ModuleList(
            [nn.Identity(), first, nn.Identity(), TrainableCausalConv(inner, width, 1, block=block)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, width] -> the same shape."""
        out: Tensor = x + self.block[3](F.elu(self.block[1](F.elu(x)), inplace=True))
        return out


class Elu(nn.Module):
    """Without parameters, but with a number in the published names."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return F.elu(x)


class TrainableSeanetEncoder(nn.Module):
    """Samples [B, T * hop, 1] -> [B, T, latent_width]."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        width, block = config.base_filters, _FULL_RATE_BLOCK
        layers: list[nn.Module] = [TrainableCausalConv(1, width, config.kernel, block=block)]
        for ratio in reversed(config.ratios):
            layers.append(TrainableResidualBlock(width, config, block))
            block = max(block // 4, 1)
            layers += [Elu(), TrainableCausalConv(width, 2 * width, 2 * ratio, ratio)]
            width *= 2
        layers += [Elu(), TrainableCausalConv(width, config.latent_width, config.last_kernel)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T * hop, 1] -> [B, T, latent_width]."""
        out: Tensor = self.model(x)
        return out


class TrainableSeanetDecoder(nn.Module):
    """[B, T, latent_width] -> samples [B, T * hop, 1]."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        width = config.base_filters * 2 ** len(config.ratios)
        layers: list[nn.Module] = [TrainableCausalConv(config.latent_width, width, config.kernel)]
        for level, ratio in enumerate(config.ratios):
            layers += [Elu(), TrainableCausalTransposedConv(width, width // 2, ratio)]
            width //= 2
            block = max(_FULL_RATE_BLOCK // 4 ** (len(config.ratios) - 1 - level), 1)
            layers.append(TrainableResidualBlock(width, config, block))
        layers += [Elu(), TrainableCausalConv(width, 1, config.last_kernel, block=_FULL_RATE_BLOCK)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, latent_width] -> [B, T * hop, 1]."""
        *inner, last = self.model
        for layer in inner:
            x = layer(x)
        with torch.autocast("cpu", enabled=False):  # rounded samples would be heard as noise
            out: Tensor = last(x.float())
        return out
