"""What is said of checkpoints that are foreign, damaged or of another task: a table of files and words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from moshi_cluster.models.loading import CheckpointError, Part, resolve
from moshi_cluster.models.loading.dry_run import why_not_served
from moshi_cluster.models.loading.lm import load_lm
from moshi_cluster.tools.checkpoint_layouts import as_candle, as_mlx
from tests.models.loading.layout_files import CONFIG, published

Tensors = dict[str, Tensor]
DIM, DEPTH = CONFIG["dim"], CONFIG["depformer_dim"]
LORA_A, LORA_B = torch.zeros(4, DIM), torch.zeros(CONFIG["text_card"], 4)
LAYER = "transformer.layers.0"


@dataclass(frozen=True)
class Foreign:
    """A checkpoint: changes to a sound one, and the words for it, after the name of the file."""

    words: str
    config: dict[str, Any] = field(default_factory=dict)
    tensors: Callable[[Tensors], Tensors] = dict
    layout: Callable[[Tensors, dict[str, Any]], Tensors] = lambda tensors, _config: tensors


def plus(**more: Tensor) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name.replace("__", "."): tensor for name, tensor in more.items()}


def without(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in names}


def renamed(old: str, new: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name.replace(old, new): tensor for name, tensor in tensors.items()}


NO_PART = "no part of the model that the configuration describes"
FOREIGN: dict[str, Foreign] = {
    "speech to text": Foreign(
        "model_type: 'stt': a model that turns speech into text and says nothing holds no call", {"model_type": "stt"}
    ),
    "speech to text that does not say so": Foreign(
        "dep_q: no stream is its own: a model that turns speech into text", {"dep_q": 0, "n_q": 4}
    ),
    "text to speech": Foreign(
        "model_type: 'tts': a model that turns text into speech and hears nobody holds no call",
        {"model_type": "tts", "cross_attention": True, "demux_second_stream": True},
    ),
    "text to speech that does not say so": Foreign(
        "n_q: all 2 streams are its own (dep_q): a model that turns text into speech",
        {"n_q": 2, "dep_q": 2, "delays": [0, 0, 1]},
        without("emb.2.weight", "emb.3.weight"),
    ),
    "MoshiVis, by its configuration": Foreign(
        "cross_attention: True is not supported, only False",
        {"cross_attention": True, "fuser": {"cross": ["image"]}, "conditioners": {"image": {"type": "tensor"}}},
    ),
    "MoshiVis, by its tensors": Foreign(
        f"{LAYER}.cross_attention.in_proj_weight: {NO_PART} (nor are 1 others)",
        tensors=plus(
            **{
                f"{LAYER}.cross_attention.in_proj_weight": torch.zeros(3 * DIM, DIM),
                f"{LAYER}.norm_cross.weight": torch.zeros(DIM),
            }
        ),
    ),
    "MoshiVis in MLX's names": Foreign(
        f"{LAYER}.cross_attention.in_proj.weight: {NO_PART}",
        tensors=plus(**{f"{LAYER}.cross_attention.in_proj.weight": torch.zeros(3 * DIM, DIM)}),
        layout=as_mlx,
    ),
    "MoshiVis in Candle's names": Foreign(
        f"{LAYER}.cross_attention.alpha: {NO_PART}",
        tensors=plus(**{f"{LAYER}.cross_attention.alpha": torch.zeros(DIM)}),
        layout=as_candle,
    ),
    "KAME, which hears an oracle": Foreign(
        f"oracle_emb.weight: {NO_PART}", tensors=plus(oracle_emb__weight=torch.zeros(9, DIM))
    ),
    "biases on linear layers": Foreign(
        f"text_linear.bias: {NO_PART}", tensors=plus(text_linear__bias=torch.zeros(CONFIG["text_card"]))
    ),
    "normed queries": Foreign(
        f"{LAYER}.self_attn.q_norm.weight: {NO_PART}",
        tensors=plus(**{f"{LAYER}.self_attn.q_norm.weight": torch.zeros(DIM)}),
    ),
    "another trainer's adapters in the file": Foreign(
        f"text_linear.lora_A.default.weight: {NO_PART}", tensors=plus(text_linear__lora_A__default__weight=LORA_A)
    ),
    "adapters of a table, which no layer uses": Foreign(
        f"adapters: emb.0.lora_A.weight: {NO_PART} (nor are 1 others)",
        {"lora": True},
        plus(emb__0__lora_A__weight=torch.zeros(4, DIM), emb__0__lora_B__weight=torch.zeros(65, 4)),
    ),
    "adapters without their scaling": Foreign(
        "adapters: no scaling: config.json says neither lora nor lora_scaling; give the config.json that the",
        tensors=plus(text_linear__lora_A__weight=LORA_A, text_linear__lora_B__weight=LORA_B),
    ),
    "adapters that were merged already": Foreign(
        "config.json says lora, but names no lora_name and no adapters are here: give their file, or, if they are "
        "merged into this one, say `lora: false` in config.json",
        {"lora": True},
    ),
    "a file that another program renamed": Foreign(
        "not a Moshi LM: neither emb.0.weight nor audio_embs.0.weight is there",
        tensors=renamed("emb.", "model.embed_tokens."),
    ),
    "transformers' own conversion": Foreign(
        "not a Moshi LM: neither emb.0.weight nor audio_embs.0.weight is there",
        tensors=lambda _: {"decoder.model.layers.0.self_attn.q_proj.linear.weight": torch.zeros(2, 2)},
    ),
    "a shard, whose second half is another file": Foreign(
        f"{LAYER}.self_attn.in_proj_weight: missing from the checkpoint",
        tensors=without(f"{LAYER}.self_attn.in_proj_weight"),
    ),
    "a shard in MLX's names": Foreign(
        "depformer.slices.1.linear_out.weight: missing from the checkpoint",
        tensors=without("depformer.slices.1.linear_out.weight"),
        layout=as_mlx,
    ),
    "weights of another size than config.json says": Foreign(
        "emb.0.weight: expected the shape [33, 64], found [65, 64]", {"card": 32}
    ),
    "one attention in both spellings": Foreign(
        f"{LAYER}.self_attn.in_proj_weight: there already is {LAYER}.self_attn.in_proj.weight",
        tensors=plus(**{f"{LAYER}.self_attn.in_proj.weight": torch.zeros(3 * DIM, DIM)}),
    ),
    "a depth transformer that shares its weights, read as upstream reads what is absent": Foreign(
        "depformer_weights_per_step: False, as upstream takes it where the key is absent, is not supported, only True",
        {"depformer_weights_per_step": ...},
    ),
    "no window, with which upstream cannot stream": Foreign("context: missing", {"context": ...}),
    "a PersonaPlex of another version": Foreign(
        "version: '70b-v9' is not known, only '7b-v1'",
        dict.fromkeys(CONFIG, ...) | {"model_type": "personaplex", "version": "70b-v9"},
    ),
    "a key that nobody knows": Foreign("attention_sink: unknown key", {"attention_sink": 4}),
}


def write(foreign: Foreign, folder: Path) -> None:
    config = {key: value for key, value in (CONFIG | foreign.config).items() if value is not ...}
    tensors = foreign.tensors(dict(foreign.layout(dict(published()), CONFIG)))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"tokenizer_name": "tokenizer.model"} | config))


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_foreign_or_damaged_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    foreign = FOREIGN[name]
    write(foreign, tmp_path)
    with pytest.raises(CheckpointError) as refused:
        load_lm(resolve(str(tmp_path), parts=Part.LM_WEIGHTS), torch.float32)
    where, _, words = str(refused.value).partition(": ")
    assert where in ("config.json", str(tmp_path / "config.json"), str(tmp_path / "model.safetensors"))
    assert words.startswith(foreign.words)


@pytest.mark.parametrize("name", [name for name in FOREIGN if "PersonaPlex" not in name])
def test_it_is_told_without_reading_the_weights(name: str, tmp_path: Path) -> None:
    write(FOREIGN[name], tmp_path)
    checkpoint = resolve(str(tmp_path), parts=Part.LM_WEIGHTS)
    with pytest.raises(CheckpointError) as refused:
        load_lm(checkpoint, torch.float32)
    assert why_not_served(checkpoint) == str(refused.value)


def test_a_sound_checkpoint_has_nothing_against_it(tmp_path: Path) -> None:
    for layout in (lambda tensors, _config: tensors, as_mlx, as_candle):
        write(Foreign("", layout=layout), tmp_path)
        assert why_not_served(resolve(str(tmp_path), parts=Part.LM_WEIGHTS)) is None


def test_heads_that_only_listen_are_known_and_left_out(tmp_path: Path) -> None:
    write(Foreign("", tensors=plus(extra_heads__0__weight=torch.zeros(6, DIM))), tmp_path)
    assert load_lm(resolve(str(tmp_path), parts=Part.LM_WEIGHTS)).config.dim == DIM


def test_there_are_twenty() -> None:
    assert len(FOREIGN) >= 20
