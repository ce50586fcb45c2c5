"""Optimisers: Muon for matrices inside the Transformers, AdamW for tables, heads and norms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.lm.together import rank_and_processes
from training.mimi.processes import summed

_WARM_UP_STEPS = 100
_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Momentum whose direction is made orthogonal (Jordan et al. 2024), with decoupled weight decay.

    Parameters are matrices or stacks of matrices. The update is scaled to AdamW's usual size (Liu et al. 2025,
    arXiv 2502.16982), so that both share a learning rate.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            directions = [self._ahead(parameter, group["momentum"]) for parameter in parameters]
            for parameter, direction in zip(parameters, _orthogonal_together(directions), strict=True):
                scale = 0.2 * math.sqrt(max(parameter.shape[-2:]))
                parameter.mul_(1 - group["lr"] * group["decay"])
                parameter.add_(direction, alpha=-group["lr"] * scale)

    def _ahead(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Nesterov's momentum."""
        assert parameter.grad is not None
        past: Tensor = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        past.lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(past, momentum)


def _orthogonal_together(directions: Sequence[Tensor]) -> list[Tensor]:
    """`orthogonal` of each; every process does its share of them and gets the others' from their processes."""
    rank, processes = rank_and_processes()
    own = [orthogonal(x) if index % processes == rank else torch.zeros_like(x) for index, x in enumerate(directions)]
    if processes == 1:
        return own
    flat = summed(torch.cat([x.flatten() for x in own]))
    return [part.view_as(x) for part, x in zip(flat.split([x.numel() for x in own]), own, strict=True)]


def orthogonal(x: Tensor) -> Tensor:
    """x: [..., rows, columns] -> about U V^T of its singular value decomposition, by a Newton-Schulz iteration."""
    a, b, c = _COEFFICIENTS
    wide = x.shape[-2] <= x.shape[-1]
    y = (x if wide else x.mT).bfloat16()
    y = y / (torch.linalg.matrix_norm(y.float(), keepdim=True) + 1e-7).to(y.dtype)
    for _ in range(_ITERATIONS):
        gram = y @ y.mT
        y = a * y + (b * gram + c * (gram @ gram)) @ y
    found: Tensor = (y if wide else y.mT).to(x.dtype)
    return found


def optimisers(modules: Iterable[nn.Module], lr: float) -> list[torch.optim.Optimizer]:
    """Muon for every matrix of a layer, AdamW for the rest."""
    named = [pair for module in modules for pair in module.named_parameters()]
    matrices = [p for name, p in named if "layers." in name and p.dim() >= 2]
    others = [p for name, p in named if not ("layers." in name and p.dim() >= 2)]
    return [Muon(matrices, lr), torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)]


def set_rate(all_of_them: Iterable[torch.optim.Optimizer], rate: float) -> None:
    for optimiser in all_of_them:
        for group in optimiser.param_groups:
            group["lr"] = rate


def learning_rate(peak: float, step: int, progress: float) -> float:
    """Rises over the first steps, falls as a cosine to a fiftieth of the peak. progress: 0 to 1 of the budget."""
    falling = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return peak * min(1.0, (step + 1) / _WARM_UP_STEPS) * falling
