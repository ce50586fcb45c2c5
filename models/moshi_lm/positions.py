"""Positions: sines added to the input, and the order of rows that rotary positions want (docs/model.md 2.4)."""

from __future__ import annotations

import torch
from torch import Tensor


def sinusoidal(positions: Tensor, dim: int, max_period: float) -> Tensor:
    """positions: int64 [N] -> float32 [N, D]: cosines of pos * max_period^(-j / (D/2 - 1)), then the sines."""
    pair = torch.arange(dim // 2, dtype=torch.float64, device=positions.device)
    angle = positions.to(torch.float64)[:, None] * max_period ** (-pair / (dim // 2 - 1))
    return torch.cat((angle.cos(), angle.sin()), dim=1).float()


def qkv_rows(dim: int, heads: int, kv_repeat: int, halves: bool) -> Tensor | None:
    """Where the rows of queries, keys and values [3 D] lie in a stored matrix [D + 2 D / kv_repeat]; None: in order.

    Heads of keys and values that kv_repeat heads of queries share are repeated. halves: pairs of rotary positions are
    stored as rows j and j + head_dim / 2 and become neighbours; both products of a pair move alike, so scores stay.
    """
    if kv_repeat == 1 and not halves:
        return None
    head_dim, kv_dim = dim // heads, dim // kv_repeat
    plain, head = torch.arange(head_dim), torch.arange(heads)[:, None]
    pairs = plain.view(2, -1).T.flatten() if halves else plain
    shared = head // kv_repeat * head_dim
    parts = head * head_dim + pairs, dim + shared + pairs, dim + kv_dim + shared + plain
    return torch.cat([part.flatten() for part in parts])
