"""Orthogonal updates, and the learning rate over a run."""

from __future__ import annotations

import pytest
import torch

from training.lm.optimiser import Muon, learning_rate, orthogonal


@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (3, 16, 16)], ids=str)
def test_an_update_has_singular_values_near_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)).float())
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.5


def test_muon_finds_the_least_of_a_square() -> None:
    torch.manual_seed(1)
    wanted, weight = torch.randn(6, 4), torch.nn.Parameter(torch.zeros(6, 4))
    optimiser = Muon([weight], lr=0.05, decay=0.0)
    for step in range(200):
        for group in optimiser.param_groups:
            group["lr"] = 0.3 * (1 - step / 200)
        optimiser.zero_grad()
        ((weight - wanted) ** 2).sum().backward()
        optimiser.step()
    assert float((weight.detach() - wanted).abs().max()) < 0.05


def test_the_rate_rises_and_then_falls_with_the_budget() -> None:
    rates = [learning_rate(1.0, step, step / 1000) for step in range(1000)]
    assert rates[0] < 0.02
    assert max(rates) == pytest.approx(1.0, abs=0.05)
    assert rates.index(max(rates)) == 99
    assert rates[-1] == pytest.approx(0.02, abs=0.01)
