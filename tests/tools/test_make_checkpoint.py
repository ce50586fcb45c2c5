"""A random checkpoint is laid out as published, and is the same every time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from sentencepiece import SentencePieceProcessor
from torch import Tensor

from moshi_cluster.models.loading import resolve
from moshi_cluster.models.loading.published import MIMI_NAME
from moshi_cluster.tools.checkpoint_sizes import LM_CONFIGS
from moshi_cluster.tools.make_checkpoint import make
from moshi_cluster.tools.random_lm import random_lm
from moshi_cluster.tools.random_mimi import random_mimi

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    assert make(folder)
    return folder


def _layout_of(path: Path) -> dict[str, tuple[str, list[int]]]:
    with safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, not a dictionary
        return {name: (stored.get_dtype(), stored.get_shape()) for name, stored in slices.items()}


def _layout(tensors: dict[str, Tensor]) -> dict[str, tuple[str, list[int]]]:
    spelling = {"torch.float32": "F32", "torch.bfloat16": "BF16"}
    return {name: (spelling[str(tensor.dtype)], list(tensor.shape)) for name, tensor in tensors.items()}


def test_names_shapes_and_types_of_the_lm_are_the_published_ones() -> None:
    config = json.loads((GOLDEN / "lm_tiny" / "config.json").read_text())
    assert _layout(random_lm(config, seed=0)) == _layout_of(GOLDEN / "lm_tiny" / "model.safetensors")


def test_names_shapes_and_types_of_mimi_are_the_published_ones() -> None:
    config = json.loads((GOLDEN / "mimi_tiny" / "mimi_config.json").read_text())
    assert _layout(random_mimi(config, seed=0)) == _layout_of(GOLDEN / "mimi_tiny" / "mimi.safetensors")


@pytest.mark.parametrize("size", sorted(LM_CONFIGS))
def test_the_configuration_has_every_published_key_and_the_published_streams(size: str) -> None:
    golden = json.loads((GOLDEN / "lm_tiny" / "config.json").read_text())
    config = LM_CONFIGS[size]
    assert config.keys() == golden.keys() | {"model_id"}
    assert {key: config[key] for key in ("n_q", "dep_q", "delays")} == {
        key: golden[key] for key in ("n_q", "dep_q", "delays")
    }


def test_the_folder_resolves_like_a_published_repository(folder: Path) -> None:
    checkpoint = resolve(str(folder))
    assert checkpoint.mimi_weights == folder / MIMI_NAME
    assert checkpoint.mimi_config is not None
    assert checkpoint.mimi_config["quantizer"]["bins"] == checkpoint.lm_config["card"]
    assert checkpoint.codebooks == 8


def test_the_tokenizer_has_the_published_special_ids_and_fills_the_vocabulary(folder: Path) -> None:
    checkpoint = resolve(str(folder))
    model = SentencePieceProcessor(model_file=str(checkpoint.tokenizer))
    assert model.get_piece_size() == checkpoint.lm_config["text_card"]
    assert (model.unk_id(), model.bos_id(), model.eos_id(), model.pad_id()) == (0, 1, 2, 3)


def test_two_runs_give_identical_bytes(folder: Path, tmp_path: Path) -> None:
    make(tmp_path / "again")
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert again == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_there_is_kept_and_what_is_out_of_date_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    assert make(folder, if_missing=True)
    assert not make(folder, if_missing=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_id": {"sig": "random", "epoch": 0}}))
    assert make(folder, if_missing=True)
    assert json.loads((folder / "config.json").read_text()) == config
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_failed_run_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "small"
    make(folder)
    before = (folder / "model.safetensors").read_bytes()
    monkeypatch.setattr("moshi_cluster.tools.make_checkpoint.train_tokenizer", lambda _pieces: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make(folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
