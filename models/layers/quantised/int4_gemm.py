"""int4 matrix products in bfloat16 by torch's 4-bit kernels, for weights quantised in groups of columns.

The kernels know W = scale * (code - 8) + zero with codes 0..15. An 8-bit code is two of them, 16 * high + low: its
matrix is run as one of twice the width, beside activations that are given twice. The memory is that of 8 bits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.layers.quantised.matrix import QuantisedMatrix

_GROUPS = (32, 64, 128, 256)
_MIDDLE = 8  # the code of value `zero`
_PACK_ROWS = 2048  # a multiple of every kernel's block; packing goes through int32, so not all at once
_ROW_MULTIPLE = 16
_COLUMN_MULTIPLE = 32


class Int4Gemm:
    """x W^T in bfloat16, W in 4 or 8 bits with a scale and perhaps a bias per group of columns."""

    def __init__(self, matrix: QuantisedMatrix) -> None:
        """Raises ValueError when the kernel does not know such a matrix."""
        if matrix.group not in _GROUPS or matrix.columns % _COLUMN_MULTIPLE:
            raise ValueError(f"{matrix.kind} of {matrix.columns} columns: no 4-bit kernel")
        self._rows = matrix.shape[0]
        self._group = matrix.group
        self._twice = matrix.bits == 8
        missing = -self._rows % _ROW_MULTIPLE
        on_cpu = matrix.device.type == "cpu"
        kernels = torch.ops.aten._weight_int4pack_mm_for_cpu, torch.ops.aten._weight_int4pack_mm
        self._kernel = kernels[0 if on_cpu else 1].default
        self._packed = _packed(matrix, missing, on_cpu)
        self._scales_and_zeros = F.pad(_scales_and_zeros(matrix), (0, 0, 0, missing)).to(torch.bfloat16)

    def __call__(self, x: Tensor) -> Tensor:
        """x: bfloat16 [M, K] -> [M, N]."""
        x = torch.cat((x, x), dim=1) if self._twice else x.contiguous()
        out: Tensor = self._kernel(x, self._packed, self._group, self._scales_and_zeros)
        return out[:, : self._rows]


def _packed(matrix: QuantisedMatrix, missing_rows: int, on_cpu: bool) -> Tensor:
    """The codes in the kernel's layout."""
    codes = F.pad(_int4_codes(matrix), (0, 0, 0, missing_rows))
    if on_cpu:
        packs = [torch.ops.aten._convert_weight_to_int4pack_for_cpu(part.int(), 1) for part in codes.split(_PACK_ROWS)]
        return torch.cat(packs)
    inner_tiles = next(tiles for tiles in (8, 4, 2) if codes.shape[1] % (16 * tiles) == 0)
    pairs = codes[:, 0::2] << 4 | codes[:, 1::2]
    packed: Tensor = torch.ops.aten._convert_weight_to_int4pack(pairs, inner_tiles)
    return packed


def _int4_codes(matrix: QuantisedMatrix) -> Tensor:
    """Codes 0..15, uint8 [N, K], or [N, 2 K] with the high 4 bits first."""
    codes = matrix.integers()
    if matrix.bits == 4:
        return codes
    if codes.dtype == torch.int8:
        codes = codes.view(torch.uint8) ^ 128  # plus 128
    return torch.cat((codes >> 4, codes & 15), dim=1)


def _scales_and_zeros(matrix: QuantisedMatrix) -> Tensor:
    """float32 [groups, N, 2], the groups of the high 4 bits first.

    The zero of the low 4 bits, 8 * scale, and that of symmetric high 4 bits, 0, are exact in bfloat16.
    """
    scales = matrix.scales.float()
    biases = torch.zeros_like(scales) if matrix.biases is None else matrix.biases.float()
    if matrix.bits == 4:
        parts = [(scales, biases + _MIDDLE * scales)]
    else:
        if matrix.codes.dtype == torch.int8:
            biases = biases - 128 * scales
        parts = [(scales * 16, biases + 16 * _MIDDLE * scales), (scales, _MIDDLE * scales)]
    return torch.cat([torch.stack(part, dim=-1) for part in parts], dim=1).transpose(0, 1).contiguous()
