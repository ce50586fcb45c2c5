"""Dense linear layer whose output rows do not depend on each other (batch invariance)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.layers.placement import on_cpu

_PACK_ROWS = 8  # rows the packed layout is tuned for; any number of rows runs
LEAST_ROWS = {torch.float32: 4, torch.bfloat16: 2}
"""Fewer rows are padded: a single row takes another kernel, which sums in another order for some shapes, and in float32
two rows take 1.2 to 1.4 times as long as four."""


class Linear:
    """y = x W^T + b from a weight [out, in], optionally followed by GELU or by adding a residual.

    On CPU the weight is kept only in oneDNN's packed layout. Measured against plain `F.linear` this is 1.5 to 3 times
    faster for the small batches of a frame step, and, unlike it, every output row is bit for bit the same whatever
    the number of rows beside it: the base of "the result does not depend on who else is on the machine".
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """weight: [out, in] and bias: [out] on the device and in the type they run in (float32 or bfloat16)."""
        self.out_features, self.in_features = weight.shape
        self._packed = on_cpu(weight.device)
        self.least_rows = LEAST_ROWS[weight.dtype] if self._packed else 1
        if self._packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _PACK_ROWS)
            # Found once: finding the overload takes as long as a small elementwise call.
            self._product = torch.ops.mkldnn._linear_pointwise.default
            self._product_and_sum = torch.ops.mkldnn._linear_pointwise.binary
        self._weight = weight
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """x: [N, in] -> [N, out]."""
        if not self._packed:
            return F.linear(x, self._weight, self._bias)
        return self._run_packed(x, "none")

    def gelu(self, x: Tensor) -> Tensor:
        """x: [N, in] -> exact (erf) GELU of the product [N, out]."""
        if not self._packed:
            return F.gelu(F.linear(x, self._weight, self._bias))
        return self._run_packed(x, "gelu")

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """x: [N, in], residual: [N, out] -> residual + the product [N, out]. It may overwrite the residual."""
        if not self._packed:
            sum_ = residual if self._bias is None else residual + self._bias
            return sum_.addmm_(x, self._weight.T)
        missing = LEAST_ROWS[x.dtype] - x.shape[0]
        if missing > 0:
            return self.add(_longer(x, missing), _longer(residual, missing))[:-missing]
        out: Tensor = self._product_and_sum(x, residual, self._weight, self._bias, "add")
        return out

    def _run_packed(self, x: Tensor, activation: str) -> Tensor:
        missing = LEAST_ROWS[x.dtype] - x.shape[0]
        if missing > 0:
            return self._run_packed(_longer(x, missing), activation)[:-missing]
        out: Tensor = self._product(x, self._weight, self._bias, activation, [], "none")
        return out


def _longer(x: Tensor, rows: int) -> Tensor:
    return F.pad(x, (0, 0, 0, rows))
