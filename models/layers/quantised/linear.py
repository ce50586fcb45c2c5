"""Quantised linear layer: the weight stays in 8 or 4 bits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.layers.quantised.gemm import gemm
from moshi_cluster.models.layers.quantised.matrix import QuantisedMatrix


class QuantisedLinear:
    """y = x W^T, with the interface of `Linear`. On CPU each output row is bit for bit independent of the others."""

    def __init__(self, matrix: QuantisedMatrix, dtype: torch.dtype) -> None:
        """matrix: [out, in] on the device it runs on; dtype: of activations."""
        self.out_features, self.in_features = matrix.shape
        self.least_rows = 1
        self._gemm = gemm(matrix, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """x: [N, in] -> [N, out]."""
        return self._gemm(x)

    def gelu(self, x: Tensor) -> Tensor:
        """x: [N, in] -> exact (erf) GELU of the product [N, out]."""
        return F.gelu(self._gemm(x))

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """x: [N, in], residual: [N, out] -> residual + the product [N, out]."""
        return residual + self._gemm(x)
