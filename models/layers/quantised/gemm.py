"""Choice of the kernel that multiplies with a quantised matrix.

Measured on two AVX-512 cores (docs/checkpoints.md): torch's 8-bit kernel is the fastest for small matrices in
bfloat16, integer slices for large ones and for float32, torch's 4-bit kernel for groups in bfloat16. torch's own
kernels run float32 without vector instructions, 20 to 60 times slower, and are not used for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.layers.linear import Linear
from moshi_cluster.models.layers.placement import on_cpu
from moshi_cluster.models.layers.quantised.int4_gemm import Int4Gemm
from moshi_cluster.models.layers.quantised.int8_gemm import SLICES, PerGroupInt8Gemm, PerRowInt8Gemm
from moshi_cluster.models.layers.quantised.matrix import QuantisedMatrix

Gemm = Callable[[Tensor], Tensor]  # [M, K] -> [M, N]
_LOG = logging.getLogger(__name__)
_SMALL_CODES = 1 << 20
_KERNEL_ROWS, _KERNEL_COLUMNS = 16, 32  # the kernels want multiples of these; torch's 8-bit kernel does not check


def gemm(matrix: QuantisedMatrix, dtype: torch.dtype) -> Gemm:
    """The product with a matrix, on its device, for activations of type dtype."""
    rows, columns = matrix.shape
    fits = rows % _KERNEL_ROWS == 0 and columns % _KERNEL_COLUMNS == 0
    if on_cpu(matrix.device):
        return _cpu_gemm(matrix, dtype) if fits and dtype in SLICES else Linear(matrix.dense(dtype))
    return _device_gemm(matrix, dtype) if fits else DequantisingGemm(matrix)


def _cpu_gemm(matrix: QuantisedMatrix, dtype: torch.dtype) -> Gemm:
    if matrix.group < matrix.columns or matrix.biases is not None or matrix.bits == 4:
        if dtype == torch.bfloat16:
            try:
                return Int4Gemm(matrix)
            except ValueError:
                pass
        return PerGroupInt8Gemm(matrix, dtype)
    if dtype == torch.bfloat16 and matrix.codes.numel() <= _SMALL_CODES:
        return PackedInt8Gemm(matrix)
    return PerRowInt8Gemm(matrix, dtype)


def _device_gemm(matrix: QuantisedMatrix, dtype: torch.dtype) -> Gemm:
    """For 4 bits torch's kernel of that device, if it has one that gives the right numbers.

    torch's 8-bit kernel for CUDA computes each output on its own, without tensor cores: it is not used.
    """
    if matrix.group == matrix.columns and matrix.biases is None and matrix.bits == 8:
        return UpcastGemm(matrix)
    if dtype == torch.bfloat16 and _works(matrix.device.type, matrix.bits, matrix.group):
        return Int4Gemm(matrix)
    return DequantisingGemm(matrix)


class PackedInt8Gemm:
    """x W^T by torch's kernel for int8 weights with a scale per row."""

    def __init__(self, matrix: QuantisedMatrix) -> None:
        self._codes = matrix.codes.contiguous()
        self._scales = matrix.scales[:, 0].to(torch.bfloat16)

    def __call__(self, x: Tensor) -> Tensor:
        """x: bfloat16 [M, K] -> [M, N]."""
        out: Tensor = torch._weight_int8pack_mm(x.contiguous(), self._codes, self._scales)
        return out


class UpcastGemm:
    """x W^T for 8 bits with a scale per row: the codes, exact in bfloat16, are multiplied, and the scales come last.

    In bfloat16 a weight costs 5 bytes of memory traffic, whatever the batch: a code read, a float written and read.
    """

    def __init__(self, matrix: QuantisedMatrix) -> None:
        self._codes = matrix.codes
        self._scales = matrix.scales[:, 0].float()

    def __call__(self, x: Tensor) -> Tensor:
        """x: [M, K] -> [M, N]."""
        return (F.linear(x, self._codes.to(x.dtype)) * self._scales).to(x.dtype)


class DequantisingGemm:
    """x W^T by making W for every product, in float32 and then in the type of x: little memory, much traffic."""

    def __init__(self, matrix: QuantisedMatrix) -> None:
        self._matrix = matrix

    def __call__(self, x: Tensor) -> Tensor:
        """x: [M, K] -> [M, N]."""
        return F.linear(x, self._matrix.dense(x.dtype))


@cache
def _works(device: str, bits: int, group: int) -> bool:
    """Whether torch's kernel for groups exists on the device and agrees with the definition on a small product."""
    generator = torch.Generator().manual_seed(0)
    columns = 4 * group
    codes = torch.randint(0, 256, (64, columns * bits // 8), generator=generator, dtype=torch.uint8)
    scales = torch.rand(64, 4, generator=generator) + 0.5
    matrix = QuantisedMatrix(codes, scales, -scales, bits)
    x = torch.randn(4, columns, generator=generator).to(device, torch.bfloat16)
    try:
        found = Int4Gemm(matrix.to(device))(x).float()
    except (RuntimeError, NotImplementedError, ValueError) as error:
        _LOG.warning("no kernel for %s on this device (%s)", matrix.kind, error)
        return False
    expected = x.float() @ matrix.to(device).dense().T
    agrees = bool((found - expected).abs().max() <= 0.02 * expected.abs().max())
    if not agrees:
        _LOG.warning("the kernel for %s is wrong on this device", matrix.kind)
    return agrees
