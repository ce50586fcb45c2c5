"""RMS norm and gate of the layers, each in one pass over its input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.kernels.operator import operator


def rms_norm_reference(x: Tensor, alpha: Tensor, eps: float) -> Tensor:
    """x: [..., D], alpha: float32 [D] -> x * alpha / sqrt(eps + mean(x^2)), in float32, in the type of x."""
    wide = x.float()
    return (wide * (alpha * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps))).to(x.dtype)


def silu_gate_reference(ab: Tensor) -> Tensor:
    """ab: [N, 2 D], the halves a and b -> silu(a) * b, [N, D]."""
    a, b = ab.chunk(2, dim=1)
    return F.silu(a).mul_(b)


rms_norm = operator(rms_norm_reference, lambda x, alpha, eps: torch.empty_like(x))
silu_gate = operator(silu_gate_reference, lambda ab: ab.new_empty(ab.shape[0], ab.shape[1] // 2))
