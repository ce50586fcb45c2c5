"""From a checkpoint's files to models that run, or to an error that says what is wrong with which file."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from moshi_cluster.models.loading import Checkpoint, CheckpointError, FileNames, Part, resolve
from moshi_cluster.models.loading.lm import load_lm
from moshi_cluster.models.loading.mimi import load_mimi
from moshi_cluster.models.moshi_lm import MoshiLm
from moshi_cluster.models.sampling import Sampling

GOLDEN = Path(__file__).parents[2] / "golden"
LM, MIMI = GOLDEN / "lm_tiny", GOLDEN / "mimi_tiny"


@pytest.fixture
def checkpoint() -> Checkpoint:
    files = FileNames(mimi=str(MIMI / "mimi.safetensors"), mimi_config=str(MIMI / "mimi_config.json"))
    return resolve(str(LM), files)


def _with(checkpoint: Checkpoint, **changes: Any) -> Checkpoint:
    return dataclasses.replace(checkpoint, **changes)


def _changed_weights(path: Path, target: Path, **changes: torch.Tensor | None) -> Path:
    tensors = load_file(path) | changes
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, target)
    return target


def test_the_golden_models_load_with_a_line_about_each(
    checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_lm(checkpoint, torch.float32).config.dim == 128
    assert load_mimi(checkpoint).codebooks == 8
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "loading the LM from model.safetensors: 2 of 2 MB",
        "loading Mimi from mimi.safetensors: 1 of 1 MB",
    ]


def test_a_part_that_was_not_resolved_cannot_be_loaded() -> None:
    with pytest.raises(CheckpointError, match="resolved without the files of Mimi"):
        load_mimi(resolve(str(LM), parts=Part.LM))


def test_a_bad_configuration_is_named_and_not_the_weights(checkpoint: Checkpoint) -> None:
    without_dim = {key: value for key, value in checkpoint.lm_config.items() if key != "dim"}
    with pytest.raises(CheckpointError, match=r"^config\.json: dim: missing"):
        load_lm(_with(checkpoint, lm_config=without_dim))
    with pytest.raises(CheckpointError, match="^mimi_config: "):
        load_mimi(_with(checkpoint, mimi_config=dict(checkpoint.mimi_config or {}) | {"channels": 2}))


def test_a_checkpoints_own_sampling_reaches_the_model(tmp_path: Path) -> None:
    folder = shutil.copytree(LM, tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    config["lm_gen_config"] = {"temp": 0.0, "temp_text": 0.25, "top_k": 9, "top_k_text": 8}
    (folder / "config.json").write_text(json.dumps(config))
    lm = load_lm(resolve(str(folder), parts=Part.LM), torch.float32)
    assert lm.config.lm_gen_config == Sampling(0.25, 8, 0.0, 9)
    config["lm_gen_config"] = [0.8]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"^config\.json: lm_gen_config: expected an object, found \[0\.8\]"):
        load_lm(resolve(str(folder), parts=Part.LM), torch.float32)


def test_a_missing_tensor_is_named_with_its_file(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes: dict[str, None] = {"out_norm.alpha": None}
    weights = _changed_weights(LM / "model.safetensors", tmp_path / "lm.safetensors", **changes)
    with pytest.raises(CheckpointError, match=r"lm\.safetensors: .*out_norm\.alpha"):
        load_lm(_with(checkpoint, lm_weights=weights))
    assert "failed after" in capsys.readouterr().err


def test_a_tensor_of_another_shape_is_named_with_its_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    changes = {"text_emb.weight": torch.zeros(7, 128)}
    weights = _changed_weights(LM / "model.safetensors", tmp_path / "lm.safetensors", **changes)
    with pytest.raises(CheckpointError, match=r"lm\.safetensors: .*text_emb\.weight.*\[7, 128\]"):
        load_lm(_with(checkpoint, lm_weights=weights))


@pytest.mark.parametrize(
    ("name", "lost", "complaint"),
    [
        ("model.int8.safetensors", "text_linear.weight_scb", r"text_linear\.weight is I8 and has no scales"),
        ("model.q8.safetensors", "text_linear.scales", r"text_linear\.weight is U32 and has no scales"),
        ("model.q4.safetensors", "text_linear.biases", r"text_linear\.biases: missing"),
    ],
)
def test_integers_without_scales_are_refused_and_not_played_as_noise(
    name: str, lost: str, complaint: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    weights = _changed_weights(GOLDEN / "lm_tiny_quant" / name, tmp_path / name, **{lost: None})
    with pytest.raises(CheckpointError, match=rf"{name}: {complaint}"):
        load_lm(_with(checkpoint, lm_weights=weights))


def test_hibiki_hears_its_early_end_of_sentence_as_padding(checkpoint: Checkpoint, tmp_path: Path) -> None:
    embedding = load_file(LM / "model.safetensors")["text_emb.weight"]
    embedding[2] = embedding[3]
    changes = {"text_emb.weight": embedding}
    weights = _changed_weights(LM / "model.safetensors", tmp_path / "lm.safetensors", **changes)
    expected = load_lm(_with(checkpoint, lm_weights=weights), torch.float32)
    hibiki = load_lm(_with(checkpoint, model_type="hibiki"), torch.float32)
    moshi = load_lm(checkpoint, torch.float32)
    tokens = torch.full((1, 1 + 16), 5)
    tokens[0, 0] = 2
    hidden = [_first_hidden(lm, tokens) for lm in (expected, hibiki, moshi)]
    assert torch.equal(hidden[1], hidden[0])
    assert not torch.equal(hidden[2], hidden[0])


def _first_hidden(lm: MoshiLm, tokens: torch.Tensor) -> torch.Tensor:
    return lm.hidden(tokens, torch.tensor([0]), lm.kv_cache(1).step([0], [0]))


def test_an_interrupted_copy_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    shutil.copy(LM / "model.safetensors", half)
    with half.open("rb+") as file:
        file.truncate(half.stat().st_size // 2)
    with pytest.raises(CheckpointError, match=r"half\.safetensors: truncated"):
        load_lm(_with(checkpoint, lm_weights=half))
