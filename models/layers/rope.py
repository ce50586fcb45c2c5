"""Rotary position embedding, neighbouring pairs (Su et al. 2021, arXiv 2104.09864; docs/model.md 2.4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Rope:
    """The angles pos * max_period^(-2j/D) of every pair j.

    Angles are formed in float64 from integer positions, so they stay exact for any length of call; float32 angles
    drift audibly after hours.
    """

    def __init__(self, head_dim: int, max_period: float, device: torch.device | str = "cpu") -> None:
        pair = torch.arange(head_dim // 2, dtype=torch.float64, device=device)
        self._frequency = torch.exp(-math.log(max_period) * 2 * pair / head_dim)

    def rotations(self, positions: Tensor) -> Tensor:
        """positions: int64 [N] -> exp(i angle), complex64 [N, 1, head_dim / 2], the middle axis for the heads."""
        return torch.complex(*self.angles(positions))

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """positions: int64 [N] -> cos, sin: float32 [N, 1, head_dim / 2], the middle axis for the heads."""
        angle = positions.to(torch.float64)[:, None, None] * self._frequency
        return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """x: [..., head_dim] -> the same shape, pairs (2j, 2j+1) rotated; computed in float32.

    rotations: broadcast against pairs.
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotations).flatten(-2).to(x.dtype)
