"""Causal convolutions over [B, T, D] that train fast on CPU: matrix products over blocks of steps.

With 8 channels a step is too small for a matrix product and `F.conv1d` spends its time on reordering memory. So `block`
output steps are computed as one row: the weight becomes a band matrix (Toeplitz), mostly useful, some zeros, and the
whole layer three to five times faster, forwards and backwards.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.mimi.naming import NamedConv, NamedConvtr, NamedWeights


class TrainableCausalConv(nn.Module):
    """A convolution that sees zeros before its input; parameters are named conv.conv.{weight, bias}."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, block: int = 1) -> None:
        """block: output steps per row of the matrix product."""
        super().__init__()
        weight = _uniform((outputs, inputs, kernel), fan_in=inputs * kernel)
        self.conv = NamedConv(NamedWeights(weight, torch.zeros(outputs)))
        self._stride, self._block = stride, block

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, in] -> [B, T / stride, out]; T must be a multiple of stride * block."""
        weights = self.conv.conv
        return blocked_conv(x, weights.weight, weights.bias, self._stride, self._block)


class TrainableCausalTransposedConv(nn.Module):
    """A transposed convolution of kernel 2 * stride; parameters are named convtr.convtr.{weight, bias}."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        weight = _uniform((inputs, outputs, 2 * stride), fan_in=2 * inputs)
        self.convtr = NamedConvtr(NamedWeights(weight, torch.zeros(outputs)))
        self._stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, in] -> [B, T * stride, out]: step t depends on inputs t and t - 1."""
        weight, bias = self.convtr.convtr.weight, self.convtr.convtr.bias
        assert bias is not None
        inputs, outputs, _ = weight.shape
        present, previous = weight.split(self._stride, dim=2)
        matrix = torch.cat((previous, present)).permute(2, 1, 0).reshape(self._stride * outputs, 2 * inputs)
        out = F.linear(with_past(x, inputs), matrix, bias.repeat(self._stride))
        return out.reshape(x.shape[0], -1, outputs)


def blocked_conv(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, block: int) -> Tensor:
    """x: [B, T, in], weight: [out, in, kernel] -> [B, T / stride, out]; zeros before the first step."""
    B, T, inputs = x.shape
    outputs, _, kernel = weight.shape
    rows = x.reshape(B, T // (stride * block), stride * block * inputs)
    flat = weight.transpose(1, 2).reshape(outputs, kernel * inputs)
    hop = stride * inputs
    shifts = [F.pad(flat, (step * hop, (block - 1 - step) * hop)) for step in range(block)]
    matrix = torch.cat(shifts)
    out = F.linear(with_past(rows, (kernel - stride) * inputs), matrix, None if bias is None else bias.repeat(block))
    return out.reshape(B, T // stride, outputs)


def with_past(rows: Tensor, values: int) -> Tensor:
    """rows: [B, N, W] -> [B, N, values + W]: before each row the last `values` of what came before, zeros at first."""
    if values == 0:
        return rows
    B, N, width = rows.shape
    back = math.ceil(values / width)
    padded = F.pad(rows, (0, 0, back, 0))
    past = [padded[:, step : step + N] for step in range(back)]
    past[0] = past[0][:, :, back * width - values :]
    return torch.cat((*past, rows), dim=2)


def _uniform(shape: tuple[int, int, int], fan_in: int) -> Tensor:
    """Outputs of variance one from inputs of variance one."""
    bound = math.sqrt(3 / fan_in)
    return torch.empty(shape).uniform_(-bound, bound)
