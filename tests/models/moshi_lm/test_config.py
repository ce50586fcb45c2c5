"""config.json is read completely or refused with the key's name."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from moshi_cluster.models.loading.published import MOSHI_7B
from moshi_cluster.models.moshi_lm import LmConfig
from moshi_cluster.models.sampling import Sampling
from tests.models.moshi_lm.random_model import HIBIKI_LIKE, LISTENING, MOSHI_LIKE

GREEDY = Sampling(text_temperature=0.0, audio_temperature=0.0)


def test_the_published_7b_is_understood() -> None:
    config = LmConfig.from_dict(MOSHI_7B)
    assert (config.dim, config.num_layers, config.context) == (4096, 32, 3000)
    assert (config.streams, config.generated, config.user_codebooks, config.max_delay) == (17, 9, 8, 1)
    assert config.initial_tokens == (32000, *[2048] * 16)
    assert config.depth_blocks == 8


def test_a_whole_config_file_with_file_names_and_sampling_defaults_is_understood(golden_dir: Path) -> None:
    config = LmConfig.from_dict(json.loads((golden_dir / "lm_tiny" / "config.json").read_text()))
    assert config.lm_gen_config.audio_top_k == 250
    assert config.lm_gen_config.text_temperature == 0.7


@pytest.mark.parametrize(
    ("lm_gen_config", "sampling"),
    [
        (None, Sampling()),
        ({}, Sampling()),
        ({"temp": None, "cfg_coef": 2.0}, Sampling()),
        ({"temp": 0.0, "temp_text": 0.0, "top_k": 250, "top_k_text": 25}, GREEDY),
        ({"use_sampling": False, "temp": 0.8, "temp_text": 0.7}, GREEDY),
        ({"temp": 0.5, "top_k_text": 7}, Sampling(audio_temperature=0.5, text_top_k=7)),
    ],
)
def test_a_checkpoints_own_sampling_is_read(lm_gen_config: Any, sampling: Sampling) -> None:
    assert LmConfig.from_dict(MOSHI_LIKE | {"lm_gen_config": lm_gen_config}).lm_gen_config == sampling


@pytest.mark.parametrize("top_k", [0, 501, 32_000])
def test_a_checkpoint_that_would_draw_from_too_many_is_lowered_with_a_warning(
    top_k: int, caplog: pytest.LogCaptureFixture
) -> None:
    config = LmConfig.from_dict(MOSHI_LIKE | {"lm_gen_config": {"top_k": top_k}})
    assert config.lm_gen_config == Sampling(audio_top_k=500)
    assert caplog.messages == [f"config.json: lm_gen_config.top_k: {top_k} is drawn from the 500 likeliest"]


def test_a_schedule_counts_its_weight_blocks() -> None:
    assert LmConfig.from_dict(HIBIKI_LIKE).depth_blocks == 2
    assert LmConfig.from_dict(LISTENING).depth_blocks == 0


def test_a_null_means_the_default() -> None:
    config = LmConfig.from_dict(MOSHI_LIKE | {"depformer_weights_per_step_schedule": None, "text_card_out": None})
    assert config.depformer_weights_per_step_schedule == (0, 1, 2)
    assert config.text_card_out == config.text_card


def test_what_is_absent_is_as_upstream_takes_it() -> None:
    taken = ("positional_embedding", "norm", "gating", "depformer_pos_emb", "max_period", "depformer_num_layers")
    config = LmConfig.from_dict({key: value for key, value in MOSHI_LIKE.items() if key not in taken})
    assert (config.positional_embedding, config.norm, config.gating) == ("sin", "layer_norm", "none")
    assert (config.depformer_pos_emb, config.max_period, config.depformer_max_period) == ("sin", 10000.0, 10000.0)
    assert (config.depformer_num_layers, config.depformer_norm, config.kv_repeat) == (config.num_layers, None, 1)


def test_the_depth_transformer_has_from_the_temporal_one_what_it_does_not_say() -> None:
    config = LmConfig.from_dict(MOSHI_LIKE | {"max_period": 50.0, "kv_repeat": 2})
    assert (config.depformer_max_period, config.depformer_kv_repeat) == (50.0, 2)
    without = {key: value for key, value in MOSHI_LIKE.items() if key != "depformer_gating"}
    LmConfig.from_dict(without)  # the Temporal Transformer's, silu
    with pytest.raises(
        ValueError, match=r"^depformer_gating: 'none', as upstream takes it where the key is absent, is"
    ):
        LmConfig.from_dict(without | {"gating": "none"})


@pytest.mark.parametrize("key", ["depformer_multi_linear", "depformer_weights_per_step"])
def test_a_key_whose_absence_upstream_reads_as_what_is_not_supported_is_asked_for(key: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key}: False, as upstream takes it where the key is absent, is not"):
        LmConfig.from_dict({name: value for name, value in MOSHI_LIKE.items() if name != key})


def test_of_several_keys_that_are_not_supported_always_the_same_is_named() -> None:
    wrong: list[tuple[str, Any]] = [("norm_emb", True), ("layer_scale", 0.1), ("cross_attention", True)]
    for keys in itertools.permutations(wrong):
        with pytest.raises(ValueError, match="^cross_attention: "):
            LmConfig.from_dict(dict(keys) | MOSHI_LIKE)


@pytest.mark.parametrize(
    "key", ["dim", "num_layers", "num_heads", "n_q", "dep_q", "card", "text_card", "delays", "context"]
)
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: missing"):
        LmConfig.from_dict({name: value for name, value in MOSHI_LIKE.items() if name != key})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dim", 0),
        ("dim", "32"),
        ("num_heads", 3),
        ("num_layers", True),
        ("dep_q", 7),
        ("kv_repeat", 3),
        ("text_card_out", 41),
        ("positional_scale", 0.5),
        ("depformer_norm", "batch_norm"),
        ("delays", [0, 0, 1]),
        ("delays", [0, 0, 1, 1, 0, 1, -1]),
        ("context", 0),
        ("max_period", float("inf")),
        ("gating", "relu"),
        ("norm", "batch_norm"),
        ("positional_embedding", "alibi"),
        ("depformer_gating", "none"),
        ("depformer_pos_emb", "rope"),
        ("depformer_weights_per_step", False),
        ("depformer_weights_per_step_schedule", [0, 1]),
        ("cross_attention", True),
        ("demux_second_stream", True),
        ("layer_scale", 0.01),
        ("lm_gen_config", {"top_k": -1}),
        ("lm_gen_config", {"temp": 10.5}),
        ("lm_gen_config", {"temp_text": float("nan")}),
        ("lm_gen_config", {"use_sampling": "no"}),
        ("lm_gen_config", [0.8]),
        ("lm_gen_config", 0),
        ("colour", "blue"),
    ],
)
def test_a_bad_unknown_or_unsupported_value_is_named(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{key}\b"):
        LmConfig.from_dict(MOSHI_LIKE | {key: value})
