"""Steps of one size in all directions."""

from __future__ import annotations

import torch
from torch import nn

from training.mimi.kernels import KernelMuon


def test_weak_directions_of_a_kernels_gradient_move_as_far_as_strong_ones() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(8, 4, 3))
    strong, weak = torch.linalg.qr(torch.randn(12, 2))[0].T
    gradient = torch.zeros(8, 12)
    gradient[0], gradient[1] = 100 * strong, weak
    kernel.grad = gradient.view_as(kernel)
    KernelMuon([kernel], lr=0.1).step()
    moved = kernel.detach().flatten(1)
    along = torch.tensor([-(moved[0] @ strong), -(moved[1] @ weak)])
    assert 0.5 < along[1] / along[0] < 2


def test_a_small_regression_is_learned() -> None:
    torch.manual_seed(0)
    layer, wanted = nn.Conv1d(8, 8, 3, bias=False), nn.Conv1d(8, 8, 3, bias=False)
    optimiser = KernelMuon(layer.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        x = torch.randn(4, 8, 20)
        loss = (layer(x) - wanted(x).detach()).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
