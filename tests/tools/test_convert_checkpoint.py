"""A converted checkpoint is a checkpoint, and its bytes are those that upstream's tools write."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file

from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.models.layers.quantised import QuantisedMatrix
from moshi_cluster.models.loading import Part, codec_fingerprint, resolve
from moshi_cluster.models.loading.gguf import GgufFile
from moshi_cluster.models.loading.lm import load_lm
from moshi_cluster.models.sampling import Sampling
from moshi_cluster.tools import convert_checkpoint
from moshi_cluster.tools.convert_checkpoint import convert
from tests.golden_set import golden_dir
from tests.models.loading.layout_files import write_layout


@pytest.mark.parity
@pytest.mark.parametrize(
    ("layout", "file"),
    [
        ("mlx-q8", "model.q8.safetensors"),
        ("mlx-q4", "model.q4.safetensors"),
        ("pytorch-int8-modules", "model.int8.safetensors"),
        ("candle-q8", "model.q8.gguf"),
    ],
)
def test_converting_the_golden_model_gives_upstream_s_own_codes_and_scales(
    layout: str, file: str, golden_dir: Path, tmp_path: Path
) -> None:
    tensors = load_file(golden_dir / "lm_tiny" / "model.safetensors")
    config = json.loads((golden_dir / "lm_tiny" / "config.json").read_text())
    expected_path = golden_dir / "lm_tiny_quant" / file
    _, content = convert(tensors, config, layout)
    if layout == "candle-q8":
        (tmp_path / file).write_bytes(content)
        ours, theirs = GgufFile(tmp_path / file), GgufFile(expected_path)
        for name, matrix in theirs.items():
            made = ours[name]
            if isinstance(matrix, QuantisedMatrix) and isinstance(made, QuantisedMatrix):
                assert torch.equal(made.codes, matrix.codes) and torch.equal(made.scales, matrix.scales), name
            else:
                assert torch.equal(made, matrix), name  # type: ignore[arg-type]
        assert set(ours) == set(theirs)
        return
    made_tensors, their_tensors = load(content), load_file(expected_path)
    assert made_tensors.keys() == their_tensors.keys()
    for name, tensor in their_tensors.items():
        assert made_tensors[name].dtype == tensor.dtype
        assert torch.equal(made_tensors[name].view(torch.uint8), tensor.view(torch.uint8)), name


def test_the_command_writes_a_folder_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_layout("pytorch-bf16", source)
    monkeypatch.setattr(sys, "argv", ["convert", str(source), str(target), "--layout", "mlx-q4"])
    assert convert_checkpoint.main() == 0
    assert sorted(path.name for path in target.iterdir()) == ["config.json", "model.q4.safetensors"]
    checkpoint = resolve(str(target), parts=Part.LM)
    assert checkpoint.tokenizer == source / "tokenizer.model"
    assert load_lm(checkpoint).config.dim == 64


def test_a_converted_checkpoint_keeps_its_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["convert", str(DEFAULT_CHECKPOINT), str(tmp_path), "--layout", "mlx-q8"])
    assert convert_checkpoint.main() == 0
    assert codec_fingerprint(str(tmp_path)) == codec_fingerprint(str(DEFAULT_CHECKPOINT)) != ""


def test_a_converted_checkpoint_keeps_its_sampling_and_its_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_layout("pytorch-bf16", source)
    config = json.loads((source / "config.json").read_text())
    config |= {"lm_gen_config": {"temp": 0.0, "temp_text": 0.0}, "model_type": "hibiki"}
    (source / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(sys, "argv", ["convert", str(source), str(target), "--layout", "pytorch-int8-modules"])
    assert convert_checkpoint.main() == 0
    converted = resolve(str(target), parts=Part.LM)
    assert converted.model_type == "hibiki"
    assert load_lm(converted).config.lm_gen_config == Sampling(text_temperature=0.0, audio_temperature=0.0)


def test_a_source_that_is_no_checkpoint_is_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["convert", str(tmp_path), str(tmp_path / "out"), "--layout", "mlx-q4"])
    assert convert_checkpoint.main() == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["pytorch-bf16", "mlx-bf16", "candle-bf16"])
@pytest.mark.parametrize("name", ["hibiki_zero", "personaplex_tiny"])
def test_models_of_the_family_are_the_same_in_every_layout(
    name: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention by blocks, norms before the heads, more depth steps than are served."""
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(next(golden_dir().rglob(name)), source)
    (source / "tokenizer_spm_32k_3.model").write_bytes(b"pieces")
    if (source / "shape.json").is_file():
        sizes = json.loads((source / "shape.json").read_text())
        (source / "config.json").write_text(json.dumps({"model_type": "personaplex", **sizes}))
    monkeypatch.setattr(sys, "argv", ["convert", str(source), str(target), "--layout", layout])
    assert convert_checkpoint.main() == 0
    lms = [load_lm(resolve(str(folder), parts=Part.LM), torch.float32) for folder in (source, target)]
    assert lms[0].config == lms[1].config
    tokens = torch.arange(lms[0].config.streams)[None] % lms[0].config.card
    hidden = [lm.hidden(tokens, torch.tensor([0]), lm.kv_cache(1).step([0], [0])) for lm in lms]
    audio = [lm.audio(h, tokens[:, 0], lambda _, logits: logits.argmax(-1)) for lm, h in zip(lms, hidden, strict=True)]
    assert torch.equal(*hidden)
    assert torch.equal(*audio)
