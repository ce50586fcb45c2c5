"""A linear layer whose weight stays quantised."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.layers.quantised.matrix import QuantisedMatrix
from moshi_cluster.models.layers.quantised.products import product


class QuantisedLinear:
    """y = x W^T, with the interface of `Linear`. On CPU each output row is bit for bit independent of the others."""

    def __init__(self, matrix: QuantisedMatrix, dtype: torch.dtype) -> None:
        """matrix: [out, in] on the device it runs on; dtype: of activations."""
        self.out_features, self.in_features = matrix.shape
        self.least_rows = 1
        self._product = product(matrix, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """x: [N, in] -> [N, out]."""
        return self._product(x)

    def gelu(self, x: Tensor) -> Tensor:
        """x: [N, in] -> exact (erf) GELU of the product [N, out]."""
        return F.gelu(self._product(x))

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """x: [N, in], residual: [N, out] -> residual + the product [N, out]."""
        return residual + self._product(x)
