"""Causal convolutions over [N, T, D], as one matrix product over windows of the input.

Time lies in the middle and channels last, so a window of k steps is k * D neighbouring values: cutting the windows
is a strided view and the convolution a `Linear`, whose rows do not depend on each other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.layers.linear import Linear


class CausalConv:
    """A convolution that sees `history` before its input: T steps in, T / stride out, never a look ahead."""

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int = 1, after_elu: bool = False) -> None:
        """weight: [out, in, kernel]; bias: [out]; after_elu: apply ELU to the input first."""
        out, width, kernel = weight.shape
        self._after_elu = after_elu
        self._kernel, self._stride = kernel, stride
        self._linear = Linear(weight.transpose(1, 2).reshape(out, kernel * width), bias)
        self.history_shape = (kernel - stride, width)

    def __call__(self, x: Tensor, history: Tensor) -> Tensor:
        """x: [N, T, in] -> [N, T / stride, out].

        history: [N, kernel - stride, in], the last inputs (after ELU), zeros at first; advanced in place.
        """
        N, T, width = x.shape
        past = history.shape[1]
        padded = x.new_empty(N, past + T, width)
        padded[:, :past] = history
        if self._after_elu:
            torch.ops.aten.elu.out(x, out=padded[:, past:])
        else:
            padded[:, past:] = x
        history.copy_(padded[:, T:])
        return self._product(padded, T // self._stride)

    def _product(self, padded: Tensor, steps: int) -> Tensor:
        N, length, width = padded.shape
        size = (N, steps, self._kernel * width)
        windows = padded.as_strided(size, (length * width, self._stride * width, 1)).reshape(N * steps, size[2])
        return self._linear(windows).view(N, steps, -1)


class CausalTransposedConv:
    """A transposed convolution with kernel = 2 * stride: T steps in, T * stride out.

    Every output depends on the present and the previous input only, so it is the causal convolution of kernel 2
    whose output step holds `stride` samples. Its history is the previous input (upstream keeps that input's tail).
    """

    def __init__(self, weight: Tensor, bias: Tensor, stride: int, after_elu: bool = False) -> None:
        """weight: [in, out, 2 * stride], the transposed order; bias: [out]; after_elu: apply ELU to the input first."""
        width, out, kernel = weight.shape
        if kernel != 2 * stride:
            raise ValueError(f"transposed convolution of kernel {kernel} and stride {stride}: only 2 * stride")
        present, previous = weight.split(stride, dim=2)
        as_conv = torch.stack((previous, present), dim=-1)  # [in, out, stride, 2]
        self._out = out
        as_conv = as_conv.permute(2, 1, 0, 3).reshape(stride * out, width, 2)
        self._conv = CausalConv(as_conv, bias.repeat(stride), after_elu=after_elu)
        self.history_shape = self._conv.history_shape

    def __call__(self, x: Tensor, history: Tensor) -> Tensor:
        """x: [N, T, in] -> [N, T * stride, out]; history: [N, 1, in], as in CausalConv."""
        return self._conv(x, history).reshape(x.shape[0], -1, self._out)
