"""Discriminators learn to tell, and decoders are told how to pass."""

from __future__ import annotations

import torch

from tests.training.mimi.small import noise
from training.mimi.discriminator import Discriminator, deceit_loss, feature_loss, judge_loss


def test_judges_learn_to_tell_noise_from_tones() -> None:
    torch.manual_seed(0)
    judges = Discriminator()
    optimiser = torch.optim.Adam(judges.parameters(), lr=2e-3)
    tones = 0.1 * torch.sin(torch.arange(3 * 1920) * torch.tensor([[0.05], [0.13]]))
    for step in range(30):
        optimiser.zero_grad()
        loss = judge_loss(judges(tones), judges(noise(2, 3, seed=step)))
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.5
    with torch.no_grad():
        assert deceit_loss(judges(tones)) < deceit_loss(judges(noise(2, 3, seed=99)))


def test_features_are_apart_only_where_sounds_are() -> None:
    torch.manual_seed(0)
    judges = Discriminator()
    pcm, other = noise(1, 3, seed=1), noise(1, 3, seed=2)
    with torch.no_grad():
        assert feature_loss(judges(pcm), judges(pcm)) == 0
        assert feature_loss(judges(pcm), judges(other)) > 0.1
