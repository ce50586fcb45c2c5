"""Resampling of latents between 25 and 12.5 Hz, with the published parameter names (docs/model.md 1.6)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from moshi_cluster.models.mimi import MimiConfig
from training.mimi.convolution import blocked_conv, with_past
from training.mimi.naming import NamedConv, NamedConvtr, NamedWeights


class TrainableDownsample(nn.Module):
    """A strided convolution without bias. Before the first frame it saw its own first input, not zeros."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        width, self._stride = config.latent_width, config.positions_per_frame
        kernel = 2 * self._stride
        weight = torch.randn(width, width, kernel) / math.sqrt(width * kernel)
        self.conv = NamedConv(NamedConv(NamedWeights(weight)))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, 2 T, D] -> [B, T, D]."""
        # One frame of the first input in front; what comes out for that frame itself is cut off.
        x = torch.cat((x[:, :1].expand(-1, self._stride, -1), x), dim=1)
        return blocked_conv(x, self.conv.conv.conv.weight, None, self._stride, block=1)[:, 1:]


class TrainableUpsample(nn.Module):
    """A channel-wise transposed convolution without bias, kernel = 2 * stride."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        self._stride = config.positions_per_frame
        self.convtr = NamedConvtr(
            NamedConvtr(NamedWeights(torch.full((config.latent_width, 1, 2 * self._stride), 0.5)))
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D] -> [B, 2 T, D]."""
        width = x.shape[2]
        present, previous = self.convtr.convtr.convtr.weight.squeeze(1).T.split(self._stride)
        shifted = with_past(x, width)[:, :, :width]
        out: Tensor = x[:, :, None] * present + shifted[:, :, None] * previous
        return out.flatten(1, 2)
