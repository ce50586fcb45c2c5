"""Muon optimiser for the kernels of convolutions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from training.lm.optimiser import orthogonal

_MOMENTUM = 0.95


class KernelMuon(torch.optim.Optimizer):
    """Momentum whose direction is made orthogonal (Jordan et al. 2024); [out, in, kernel] is a matrix of `out` rows.

    Small layers at high rates get gradients of a few strong directions, which hide all others from Adam.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                past = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                past.lerp_(parameter.grad, 1 - _MOMENTUM)
                ahead = parameter.grad.lerp(past, _MOMENTUM).flatten(1)
                # Adam's usual size (Liu et al. 2025, arXiv 2502.16982), so that both share a learning rate.
                scale = 0.2 * math.sqrt(max(ahead.shape))
                parameter.add_(orthogonal(ahead).view_as(parameter), alpha=-group["lr"] * scale)
