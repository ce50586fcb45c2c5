"""Resampling of latents between the Transformers' 25 Hz and the codes' 12.5 Hz (docs/model.md 1.6)."""

from __future__ import annotations

import torch
from torch import Tensor

from moshi_cluster.models.mimi.config import MimiConfig
from moshi_cluster.models.mimi.convolution import CausalConv
from moshi_cluster.models.mimi.weights import MimiWeights


class Downsample:
    """A strided convolution without bias. Before the first frame it saw its own first input, not zeros."""

    def __init__(self, weights: MimiWeights, config: MimiConfig) -> None:
        width, stride = config.latent_width, config.positions_per_frame
        weight = weights.get("downsample.conv.conv.conv.weight", width, width, 2 * stride)
        self._conv = CausalConv(weight, None, 1, stride)
        self.history_shape = self._conv.history_shape

    def __call__(self, x: Tensor, history: Tensor, fresh: Tensor) -> Tensor:
        """x: [N, 2 T, D] -> [N, T, D]; fresh: bool [N], rows that run their first frame.

        history: [N, 2, D], advanced in place.
        """
        history.copy_(torch.where(fresh[:, None, None], x[:, :1], history))
        return self._conv(x, history)


class Upsample:
    """A channel-wise transposed convolution without bias, kernel = 2 * stride."""

    def __init__(self, weights: MimiWeights, config: MimiConfig) -> None:
        width, stride = config.latent_width, config.positions_per_frame
        weight = weights.get("upsample.convtr.convtr.convtr.weight", width, 1, 2 * stride)
        present, previous = weight.squeeze(1).T.contiguous().split(stride)
        self._present, self._previous = present, previous  # [stride, D]
        self.history_shape = (1, width)

    def __call__(self, x: Tensor, history: Tensor) -> Tensor:
        """x: [N, T, D] -> [N, 2 T, D]; history: [N, 1, D], the previous input, advanced in place."""
        shifted = torch.cat((history, x[:, :-1]), dim=1)
        history.copy_(x[:, -1:])
        out: Tensor = x[:, :, None] * self._present + shifted[:, :, None] * self._previous
        return out.flatten(1, 2)
