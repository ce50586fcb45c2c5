"""Choice of the normalisation that a config.json means."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.layers.norm import RmsNorm
from moshi_cluster.models.moshi_lm.weights import LmWeights

Norm = Callable[[Tensor], Tensor]  # [N, D] -> [N, D]
_RMS_EPS = {"rms_norm": 1e-5, "rms_norm_f32": 1e-8}
_LAYER_EPS = {"layer_norm": 1e-5, "layer_norm_f32": 1e-8}


def load_norm(weights: LmWeights, name: str, kind: str, size: int) -> Norm:
    """kind: config.json's `norm`. All are computed in float32 whatever the type of the input."""
    if kind in _RMS_EPS:
        return RmsNorm(weights.vector(f"{name}.alpha", size), _RMS_EPS[kind])
    return _LayerNorm(weights.vector(f"{name}.weight", size), weights.vector(f"{name}.bias", size), _LAYER_EPS[kind])


class _LayerNorm:
    def __init__(self, weight: Tensor, bias: Tensor, eps: float) -> None:
        self._weight, self._bias, self._eps = weight, bias, eps

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self._weight.shape, self._weight, self._bias, self._eps).to(x.dtype)
