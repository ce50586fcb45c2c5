"""Calls through the generator: any number of slots, the same replies."""

from __future__ import annotations

from functools import cache

import torch

from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm, Sampling
from training.evaluate.conversation import converse
from training.lm.export import build, published
from training.lm.sizes import lm_config


@cache
def model() -> MoshiLm:
    torch.manual_seed(1)
    narrow = {"dim": 16, "num_heads": 2, "num_layers": 2, "depformer_dim": 8, "depformer_num_heads": 2}
    config = lm_config(text_card=24, card=20) | narrow | {"depformer_dim_feedforward": 33}
    return MoshiLm.from_tensors(published(build(config)), LmConfig.from_dict(config), torch.float32)


def test_replies_do_not_depend_on_how_many_calls_are_held_at_once() -> None:
    lengths = (5, 9, 3, 7)
    callers = [torch.randint(20, (frames, 8), generator=torch.Generator().manual_seed(frames)) for frames in lengths]
    sampling = Sampling(text_temperature=0.5, audio_temperature=0.5, seed=3)
    alone, together = (converse(model(), callers, sampling, slots) for slots in (1, 3))
    assert [tuple(reply.shape) for reply in together] == [(frames, 9) for frames in lengths]
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)
