"""Causal convolutions over [N, T, D], as one matrix product over windows of the input.

Time lies in the middle and channels last, so a window of k steps is k * D neighbouring values: cutting the windows
is a strided view and the convolution a product of matrices.
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor

from moshi_cluster.models.mimi.elu import elu
from moshi_cluster.models.mimi.product import product

_OUTPUTS = 16
"""Outputs that a row of a product should have at least: a vector of float32. Next to the samples, where a step has few
channels, a row makes several steps then; the multiplications by zero that this adds cost less than narrow rows."""


class CausalConv:
    """A convolution that sees `history` before its input: T steps in, T / stride out, never a look ahead."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, steps: int, stride: int = 1, after_elu: bool = False
    ) -> None:
        """weight: [out, in, kernel]; bias: [out]; steps: T / stride of a frame; after_elu: apply ELU to the input."""
        out, width, kernel = weight.shape
        block = steps_per_row(out, steps)
        self._after_elu = after_elu
        self._window = ((block - 1) * stride + kernel) * width
        self._hop = block * stride
        self._product = product(
            toeplitz(weight, stride, block), bias if bias is None else bias.repeat(block), steps // block
        )
        self._out = out
        self.history_shape = (kernel - stride, width)

    def __call__(self, x: Tensor, history: Tensor) -> Tensor:
        """x: [N, T, in] -> [N, T / stride, out].

        history: [N, kernel - stride, in], the last inputs (after ELU), zeros at first; advanced in place.
        """
        N, T, width = x.shape
        padded = torch.cat((history, elu(x) if self._after_elu else x), dim=1)
        history.copy_(padded[:, T:])
        windows = padded.as_strided((N, T // self._hop, self._window), (padded.stride(0), self._hop * width, 1))
        return self._product(windows).view(N, -1, self._out)


class CausalTransposedConv:
    """A transposed convolution of ELU of its input, with kernel = 2 * stride: T steps in, T * stride out.

    Every output depends on the present and the previous input only, so it is the causal convolution of kernel 2
    whose output step holds `stride` samples. Its history is the previous input (upstream keeps that input's tail).
    """

    def __init__(self, weight: Tensor, bias: Tensor, steps: int, stride: int) -> None:
        """weight: [in, out, 2 * stride], the transposed order; bias: [out]; steps: T of a frame."""
        width, out, kernel = weight.shape
        if kernel != 2 * stride:
            raise ValueError(f"transposed convolution of kernel {kernel} and stride {stride}: only 2 * stride")
        present, previous = weight.split(stride, dim=2)
        as_conv = torch.stack((previous, present), dim=-1)  # [in, out, stride, 2]
        self._out = out
        as_conv = as_conv.permute(2, 1, 0, 3).reshape(stride * out, width, 2)
        self._conv = CausalConv(as_conv, bias.repeat(stride), steps, after_elu=True)
        self.history_shape = self._conv.history_shape

    def __call__(self, x: Tensor, history: Tensor) -> Tensor:
        """x: [N, T, in] -> [N, T * stride, out]; history: [N, 1, in], as in CausalConv."""
        return self._conv(x, history).view(x.shape[0], -1, self._out)


def steps_per_row(out: int, steps: int) -> int:
    """How many of a frame's steps, each `out` wide, one row of a product makes."""
    return gcd(steps, max(1, _OUTPUTS // out))


def toeplitz(weight: Tensor, stride: int, block: int) -> Tensor:
    """weight [out, in, kernel] -> the matrix [block * out, window * in] that makes `block` steps from one window."""
    out, width, kernel = weight.shape
    matrix = weight.new_zeros(block, out, (block - 1) * stride + kernel, width)
    for step, rows in enumerate(matrix):
        rows[:, step * stride : step * stride + kernel] = weight.transpose(1, 2)
    return matrix.view(block * out, -1)
