"""Embedding table: rows of a matrix, dense or quantised, by id."""

from __future__ import annotations

import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised import QuantisedMatrix, Stored


class Table:
    """Vectors by id. Quantised rows are decoded when they are looked up."""

    def __init__(self, matrix: Stored, dtype: torch.dtype) -> None:
        """matrix: [rows, D] on the device it is used on; dtype: of the vectors."""
        self._matrix = matrix
        self._dtype = dtype

    def __call__(self, ids: Tensor) -> Tensor:
        """ids: int64 [...] -> [..., D]."""
        if isinstance(self._matrix, QuantisedMatrix):
            return self._matrix[ids].dense(self._dtype).view(*ids.shape, -1)
        return torch.embedding(self._matrix, ids)
