"""Batches of a few sessions are filled up: matrix products on CPU take no longer for it (`models.layers.linear`)."""

from __future__ import annotations

import torch
from torch import Tensor


def filled(x: Tensor, rows: int) -> Tensor:
    """[N, ...] -> [max(N, rows), ...], the last row repeated."""
    missing = rows - len(x)
    return torch.cat((x, x[-1:].expand(missing, *x.shape[1:]))) if missing > 0 else x
