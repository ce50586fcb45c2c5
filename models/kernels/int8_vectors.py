"""Vectors in 8 bits with a scale each: the largest magnitude becomes 127."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 127
LEAST_MAGNITUDE = 1e-30
"""A vector's largest magnitude is at least this: a scale so small that a device flushes it to 0 would give NaN."""


def int8_codes(x: Tensor) -> tuple[Tensor, Tensor]:
    """x: [..., D] -> codes int8 [..., D] and scales float32 [...]; codes * scales is x, nearly."""
    wide = x.float()
    largest = torch.linalg.vector_norm(wide, ord=float("inf"), dim=-1, keepdim=True)
    scales = largest.clamp_min(LEAST_MAGNITUDE).div_(LARGEST)
    return (wide / scales).round_().to(torch.int8), scales.squeeze(-1)
