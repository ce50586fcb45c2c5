"""Quantisation of dense weights, by the published formulas (docs/model.md 4.3, 4.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised.matrix import QuantisedMatrix

_LEAST_SCALE = 1e-7


def per_row(weight: Tensor) -> QuantisedMatrix:
    """[N, K] -> 8 bits: a row's largest magnitude becomes 127 (the PyTorch int8 layout)."""
    wide = weight.float()
    largest = wide.abs().amax(dim=1, keepdim=True)
    codes = (wide * (127 / torch.where(largest == 0, 1, largest))).round_().to(torch.int8)
    return QuantisedMatrix(codes, largest / 127)


def per_group(weight: Tensor, bits: int, group: int) -> QuantisedMatrix:
    """[N, K] -> 8 or 4 bits, every `group` columns of a row from their least to their largest value (MLX's layout).

    The end of larger magnitude is hit exactly, and so is zero. Scales and biases are rounded to bfloat16 as in the
    published files. Raises ValueError when groups do not divide K.
    """
    if weight.shape[1] % group:
        raise ValueError(f"{weight.shape[1]} columns do not divide into groups of {group}")
    groups = weight.float().unflatten(1, (-1, group))
    low, high = groups.amin(dim=-1), groups.amax(dim=-1)
    levels = 2**bits - 1
    from_low = low.abs() > high.abs()
    edge = torch.where(from_low, low, high)
    step = ((high - low) / levels).clamp_min(_LEAST_SCALE)
    step = torch.where(from_low, step, -step)
    zero_code = (edge / step).round()
    hits_zero = zero_code != 0
    scales = torch.where(hits_zero, edge / torch.where(hits_zero, zero_code, 1), step)
    biases = torch.where(hits_zero, edge, 0)
    codes = ((groups - biases[..., None]) / scales[..., None]).round_().clamp_(0, levels).to(torch.uint8).flatten(1)
    if bits == 4:
        codes = codes[:, 0::2] | codes[:, 1::2] << 4
    return QuantisedMatrix(codes, scales.bfloat16(), biases.bfloat16(), bits)
