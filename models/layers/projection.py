"""The interface of linear layers, dense, quantised or adapted."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Projection(Protocol):
    """y = x W^T from a weight [out, in]."""

    out_features: int
    in_features: int
    least_rows: int  # so many take no longer than one: smaller batches are filled up here, or by who calls

    def __call__(self, x: Tensor) -> Tensor:
        """x: [N, in] -> [N, out]."""

    def gelu(self, x: Tensor) -> Tensor:
        """x: [N, in] -> exact (erf) GELU of the product [N, out]."""

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """x: [N, in], residual: [N, out] -> residual + the product [N, out]. It may overwrite the residual."""
