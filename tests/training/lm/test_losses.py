"""The parts of the loss: what counts, what does not, and what corruption touches."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.training.lm.sessions import session
from training.lm.auxiliary import CallerHeads
from training.lm.data import Batch, collate
from training.lm.examples import example
from training.lm.export import build
from training.lm.losses import LossWeights, corrupted, losses
from training.lm.model import TrainableLm
from training.lm.sizes import lm_config
from training.lm.streams import NONE
from training.lm.vocabulary import Vocabulary

WORDS = Vocabulary(["spell", "cat"])
EVERY_ROW = LossWeights(silent_rows=1.0)


def parts() -> tuple[TrainableLm, CallerHeads, Batch]:
    torch.manual_seed(1)
    narrow = {"dim": 16, "num_heads": 2, "num_layers": 2, "depformer_dim": 8, "depformer_num_heads": 2}
    lm = build(lm_config(text_card=24, card=20) | narrow | {"depformer_dim_feedforward": 33})
    examples = [example(session(seed, frames), lm.config, WORDS) for seed, frames in ((1, 60), (2, 50))]
    return lm, CallerHeads(16, 40, len(WORDS), 4), collate(examples)


def test_padding_changes_nothing() -> None:
    lm, heads, batch = parts()
    more = [torch.nn.functional.pad(t, (0, 0, 0, 9), value=v) for t, v in ((batch.inputs, 7), (batch.targets, NONE))]
    phones = torch.nn.functional.pad(batch.phones, (0, 0, 0, 9), value=NONE)
    padded = Batch(*more, torch.nn.functional.pad(batch.speaking, (0, 9)), phones, batch.questions)
    with torch.no_grad():
        expected = losses(lm, heads, batch, batch, EVERY_ROW, 0.0).numbers()
        found = losses(lm, heads, padded, padded, EVERY_ROW, 0.0).numbers()
    for name, value in expected.items():
        assert abs(found[name] - value) < 1e-4 * value, name


def test_codes_are_trained_where_moshi_speaks() -> None:
    lm, heads, batch = parts()
    spoken = LossWeights(silent_rows=0.0)
    changed = batch.targets.clone()
    changed[..., 1:] = torch.where(batch.speaking[..., None], changed[..., 1:], 0)  # other codes of silence
    with torch.no_grad():
        expected = losses(lm, heads, batch, batch, spoken, 0.0)
        found = losses(lm, heads, replace(batch, targets=changed), batch, spoken, 0.0)
    assert float(found.semantic) == float(expected.semantic)
    assert float(found.text) == float(expected.text)


def test_padding_tokens_count_less_than_words() -> None:
    lm, heads, batch = parts()
    with torch.no_grad():
        light = losses(lm, heads, batch, batch, LossWeights(padding=0.0), 0.0).text
        heavy = losses(lm, heads, batch, batch, LossWeights(padding=1.0), 0.0).text
    assert float(light) < float(heavy)


def test_every_parameter_is_trained() -> None:
    lm, heads, batch = parts()
    losses(lm, heads, batch, batch, EVERY_ROW, 0.0).total(EVERY_ROW).backward()
    for name, parameter in [*lm.named_parameters(), *heads.named_parameters()]:
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_corruption_touches_codes_only() -> None:
    torch.manual_seed(1)
    inputs = torch.full((4, 500, 17), 99)
    wrong = corrupted(inputs, card=20, spoken=9, own_share=0.1, user_share=0.3) != inputs
    shares = wrong.float().mean((0, 1))
    assert float(shares[0]) == 0
    assert bool(((shares[1:9] > 0.07) & (shares[1:9] < 0.13)).all())
    assert bool(((shares[9:] > 0.25) & (shares[9:] < 0.35)).all())
