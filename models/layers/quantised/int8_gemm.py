"""int8 matrix products in exact integer arithmetic.

A row of activations is split into two or four slices of 7 bits (as in the scheme of Ozaki et al. 2012), the product of
each slice with the weights is summed in int32 by oneDNN, and the sums are put together in float32. Integer sums are
exact whatever their order, so a row's result depends on nothing but the row; four slices are as good as float32, two
are better than bfloat16. Slices of 7 bits never overflow the 16-bit sums of processors without VNNI.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moshi_cluster.models.layers.linear import Linear
from moshi_cluster.models.layers.quantised.matrix import QuantisedMatrix

_SLICE_BITS = 7
_BASE = 1 << _SLICE_BITS
_ZERO = _BASE // 2  # the value of a slice that stands for nothing
SLICES = {torch.float32: 4, torch.bfloat16: 2}


class PerRowInt8Gemm:
    """x W^T for one scale per row of W."""

    def __init__(self, matrix: QuantisedMatrix, dtype: torch.dtype) -> None:
        self._slices = _Slices(SLICES[dtype])
        self._weight = _Packed(matrix.integers(), matrix.scales[:, 0])

    def __call__(self, x: Tensor) -> Tensor:
        """x: [M, K] -> [M, N] in x's type."""
        slices, scale = self._slices.split(x)
        return self._slices.join(self._weight(slices), scale).to(x.dtype)


class PerGroupInt8Gemm:
    """x W^T for a scale and a bias per group of columns: the groups one after the other, added up in float32.

    The biases meet the sums of x over each group, a small product in float32.
    """

    def __init__(self, matrix: QuantisedMatrix, dtype: torch.dtype) -> None:
        self._slices = _Slices(SLICES[dtype])
        self._groups = (-1, matrix.group)
        codes, scales, biases = matrix.integers(), matrix.scales.float(), matrix.biases
        if codes.dtype == torch.uint8:  # around zero the products are smaller, and less is lost when they are added up
            middle = 1 << (matrix.bits - 1)
            codes = (codes - middle).view(torch.int8)
            biases = scales * middle + (0 if biases is None else biases.float())
        self._weights = [
            _Packed(part, scale) for part, scale in zip(codes.split(matrix.group, dim=1), scales.unbind(1), strict=True)
        ]
        self._biases = None if biases is None else Linear(biases.float())

    def __call__(self, x: Tensor) -> Tensor:
        """x: [M, K] -> [M, N] in x's type."""
        slices, scale = self._slices.split(x)
        parts = slices.unflatten(1, self._groups).transpose(0, 1).contiguous().unbind(0)
        total = self._weights[0](parts[0])
        for weight, part in zip(self._weights[1:], parts[1:], strict=True):
            total = weight.add_to(total, part)
        out = self._slices.join(total, scale)
        if self._biases is not None:
            out += self._biases(x.float().unflatten(1, self._groups).sum(dim=-1))
        return out.to(x.dtype)


class _Slices:
    """Slices of rows of floats: x = scale * sum_p 128^p (slice_p - 64), to within half a unit of the lowest slice."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._largest = float((_ZERO - 1) * _BASE ** (count - 1))
        zero = sum(_ZERO * _BASE**p for p in range(count))
        self._zero = torch.tensor(zero + 0.5)  # conversion cuts, so half is added
        self._shifts = torch.arange(count, dtype=torch.int32).mul_(_SLICE_BITS)[:, None, None]

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: [M, K] -> slices uint8 [count * M, K], scale float32 [M, 1]."""
        wide = x.float()
        largest = wide.abs().amax(dim=1, keepdim=True).clamp_min_(1e-30)
        number = torch.addcmul(self._zero, wide, self._largest / largest).to(torch.int32)
        slices = (number >> self._shifts).bitwise_and_(_BASE - 1).to(torch.uint8)
        return slices.flatten(0, 1), largest / self._largest

    def join(self, sums: Tensor, scale: Tensor) -> Tensor:
        """sums over K of slices and weights, float32 [count * M, N] -> [M, N]."""
        low, *higher = sums.view(self._count, len(scale), -1).unbind(0)
        for p, sum_p in enumerate(higher, start=1):
            low = low.add_(sum_p, alpha=_BASE**p)
        return low.mul_(scale)


class _Packed:
    """int8 [N, K] with a scale per row, in oneDNN's layout."""

    def __init__(self, codes: Tensor, scales: Tensor) -> None:
        self._codes = torch.ops.onednn.qlinear_prepack(codes.contiguous(), None)
        self._scales = scales.float().contiguous()
        self._zeros = torch.zeros(len(scales), dtype=torch.int32)
        # Found once: finding the overload takes as long as a small elementwise call.
        self._product = torch.ops.onednn.qlinear_pointwise.default
        self._product_and_sum = torch.ops.onednn.qlinear_pointwise.binary

    def __call__(self, slices: Tensor) -> Tensor:
        """slices: uint8 [R, K] -> float32 [R, N]."""
        weight = self._codes, self._scales, self._zeros
        out: Tensor = self._product(slices, 1.0, _ZERO, *weight, None, 1.0, 0, torch.float32, "none", [], "")
        return out

    def add_to(self, total: Tensor, slices: Tensor) -> Tensor:
        """total: float32 [R, N], overwritten."""
        weight = self._codes, self._scales, self._zeros
        out: Tensor = self._product_and_sum(
            *(slices, 1.0, _ZERO, *weight, total, None, 1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], "")
        )
        return out
