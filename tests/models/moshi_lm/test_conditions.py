"""A checkpoint's conditions are one vector on every frame's embedding."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm
from tests.models.moshi_lm.random_model import HIBIKI_LIKE, random_tensors

VALUES = ["very_bad", "bad", "neutral", "good", "very_good"]
KEY = "condition_provider.conditioners.description"


def conditioned(possible: list[str] | None = VALUES, **lut: Any) -> dict[str, Any]:
    table = {"n_bins": 31, "dim": 16, "tokenizer": "noop", "possible_values": possible} | lut
    return HIBIKI_LIKE | {
        "conditioners": {"description": {"type": "lut", "lut": table}},
        "fuser": {"cross_attention_pos_emb": False, "sum": ["description"], "prepend": [], "cross": []},
    }


def tensors_of(config: dict[str, Any]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return random_tensors(config) | {
        f"{KEY}.embed.weight": torch.randn(32, 16, generator=generator),
        f"{KEY}.output_proj.weight": torch.randn(config["dim"], 16, generator=generator),
        f"{KEY}.learnt_padding": torch.randn(1, 1, config["dim"], generator=generator),
    }


def hidden(lm: MoshiLm) -> Tensor:
    tokens = torch.arange(2 * lm.config.streams).view(2, -1) % lm.config.card
    return lm.hidden(tokens, torch.tensor([0, 0]), lm.kv_cache(2).step([0, 1], [0, 0]))


@pytest.mark.parametrize(
    ("possible", "index"),
    [(VALUES, 4), (None, int(hashlib.sha256(b"very_good").hexdigest(), 16) % 31)],
)
def test_the_best_description_is_added_to_every_embedding(possible: list[str] | None, index: int) -> None:
    config = conditioned(possible)
    tensors = tensors_of(config)
    added = tensors[f"{KEY}.output_proj.weight"] @ tensors[f"{KEY}.embed.weight"][index]
    with_condition = MoshiLm.from_tensors(tensors, LmConfig.from_dict(config), torch.float32)
    # The text embedding is one of the sum, so a constant may as well be in it.
    shifted = random_tensors(config)
    shifted["text_emb.weight"] = shifted["text_emb.weight"] + added
    expected = MoshiLm.from_tensors(shifted, LmConfig.from_dict(HIBIKI_LIKE), torch.float32)
    plain = MoshiLm.from_tensors(random_tensors(config), LmConfig.from_dict(HIBIKI_LIKE), torch.float32)
    assert torch.allclose(hidden(with_condition), hidden(expected), atol=1e-5)
    assert not torch.allclose(hidden(with_condition), hidden(plain), atol=1e-1)


def test_no_conditioners_are_no_condition() -> None:
    for nothing in ({}, None):
        assert LmConfig.from_dict(HIBIKI_LIKE | {"conditioners": nothing, "fuser": {"sum": []}}).conditions == ()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"conditioners": {"description": {"type": "tensor"}}}, "conditioners.description: type 'tensor'"),
        (
            {"conditioners": {"speaker": {"type": "lut"}}, "fuser": {"sum": ["speaker"]}},
            "conditioners.speaker: unknown",
        ),
        ({"fuser": {"sum": []}}, "fuser.sum: expected the names of all"),
        ({"fuser": {"sum": ["description"], "cross": ["voice"]}}, "fuser.cross: "),
        ({"fuser": None}, "conditioners: expected objects"),
        (conditioned(["good"]), "conditioners.description.lut.possible_values: expected 'very_good'"),
        (conditioned(n_bins=0), "conditioners.description.lut.n_bins: expected an integer"),
        (conditioned(dim=None), "conditioners.description.lut.dim: expected an integer"),
    ],
)
def test_conditions_that_are_not_supported_are_named(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{complaint}"):
        LmConfig.from_dict(conditioned() | change)


def test_a_missing_table_is_named() -> None:
    tensors = {name: tensor for name, tensor in tensors_of(conditioned()).items() if "output_proj" not in name}
    with pytest.raises(ValueError, match=f"^{KEY}.output_proj.weight: missing"):
        MoshiLm.from_tensors(tensors, LmConfig.from_dict(conditioned()), torch.float32)
