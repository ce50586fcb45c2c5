"""Delays: a session laid out for training is what the product's timeline reads and samples, call by call."""

from __future__ import annotations

import hypothesis
import torch
from hypothesis import strategies as st

from moshi_cluster.models.moshi_lm import LmConfig
from moshi_cluster.models.moshi_lm.timeline import Timeline
from training.lm.sizes import lm_config
from training.lm.streams import NONE, depth_tokens, lay_out

CONFIG = LmConfig.from_dict(lm_config(text_card=24, card=20))


@hypothesis.given(st.integers(1, 12), st.integers(0, 1000))
def test_inputs_and_targets_are_those_of_the_run_time(frames: int, seed: int) -> None:
    history = torch.randint(20, (frames, CONFIG.streams), generator=torch.Generator().manual_seed(seed))
    inputs, targets = lay_out(history, CONFIG)
    timeline, calls = Timeline(CONFIG, slots=1), torch.arange(frames)
    assert torch.equal(inputs, timeline.known_inputs(history, calls))
    sampled = timeline.known(history, calls)[:, : CONFIG.generated]
    assert torch.equal(targets, torch.where(sampled < 0, NONE, sampled))


def test_a_depth_step_is_given_the_token_before_its_own() -> None:
    targets = torch.tensor([[5, 6, NONE, NONE], [7, 8, 1, 2]])
    assert depth_tokens(targets).tolist() == [[5, 6, 0], [7, 8, 1]]
