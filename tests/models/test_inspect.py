"""`python -m models.inspect` says what a checkpoint is, without loading it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from moshi_cluster.models import inspect
from moshi_cluster.models.loading.inspect_lm import inspect_lm
from tests.models.loading.layout_files import ALL, CONFIG, published, write_layout
from tests.services.persona_worker import persona_folder

NAMES = {"pytorch": "PyTorch's", "mlx": "MLX's", "candle": "Candle's"}
KINDS = {
    "bf16": "M dense (100%)",
    "int8": "M 8 bits per row",
    "mlx-q8": "M 8 bits in groups of 64 (100%)",
    "mlx-q4": "M 4 bits in groups of 32 (100%)",
    "candle-q8": "M 8 bits in groups of 32 (100%)",
}


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["inspect", *map(str, arguments)])
    code = inspect.main()
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.parametrize("layout", ALL)
def test_every_layout_is_told_with_its_size_and_the_sessions_that_fit(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_layout(layout, tmp_path)
    monkeypatch.setattr(inspect, "free_bytes", lambda device: 10**9)
    for target in (tmp_path, path):
        code, text = said(monkeypatch, capsys, target)
        assert code == 0
        assert f"{path.name}, {path.stat().st_size / 1e6:.1f} MB" in text
        assert f"names     {NAMES[layout.partition('-')[0]]}" in text
        assert next(kind for name, kind in KINDS.items() if name in layout) in text
        assert "1 layers of 64, 2 heads; depth 1 of 64; 2 codebooks spoken, 2 heard; 8 frames of context" in text
        assert "served    yes" in text
        assert "slots fit: 99" in text  # of 1000 MB, less the few of the weights


def test_parameters_are_counted_as_they_are_whatever_they_are_packed_in(tmp_path: Path) -> None:
    parameters = sum(tensor.numel() for tensor in published().values())
    for layout in ALL:
        file = inspect_lm(write_layout(layout, tmp_path / layout))
        # Each slice has its own copy of the norms.
        copies = 0 if layout.startswith("pytorch") else 2 * (CONFIG["dep_q"] - 1) * CONFIG["depformer_dim"]
        assert sum(file.kinds.values()) == parameters + copies
        assert file.quantised == ("bf16" not in layout)


def test_what_quantising_would_save_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_layout("pytorch-bf16", tmp_path)
    file = inspect_lm(tmp_path / "model.safetensors")
    dense, eight, four = (file.memory_bytes("bfloat16", kind) for kind in (None, "int8", "int4"))
    assert eight == pytest.approx(dense * (8 + 0.5) / 16, rel=0.02)  # a scale of 32 bits for a row of 64
    assert four == pytest.approx(dense * 5 / 16, rel=0.02)
    _, text = said(monkeypatch, capsys, tmp_path, "--quantize", "int4", "--kv-dtype", "int8", "--context", "4")
    assert f"about {four / 1e6:.1f} MB for the weights with bfloat16 activations" in text
    assert "4 frames x 36 bytes, 8 bits" in text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dim": 128}, "model.safetensors: emb.0.weight: expected the shape [65, 128], found [65, 64]"),
        ({"model_type": "stt"}, "config.json: model_type: 'stt': a model that turns speech into text"),
        ({"lora": True}, "model.safetensors: config.json says lora, but names no lora_name"),
    ],
)
def test_what_would_not_be_served_is_told_with_the_reason(
    changes: dict[str, Any],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_layout("pytorch-bf16", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    for target in (tmp_path, path):
        code, text = said(monkeypatch, capsys, target)
        assert code == 0
        assert re.search(rf"^served    no, because (.*/)?{re.escape(reason)}", text, re.MULTILINE)
        assert "sessions" not in text


def test_a_model_that_takes_prompts_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, plain = said(monkeypatch, capsys, write_layout(ALL[0], tmp_path / "plain").parent)
    assert (code, "prompts   none taken\n" in plain) == (0, True)
    (tmp_path / "personaplex").mkdir()
    code, persona = said(monkeypatch, capsys, persona_folder(tmp_path / "personaplex"))
    assert (code, "prompts   taken: a voice and a role per call\n" in persona) == (0, True)


def test_a_file_alone_is_told_as_far_as_it_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_layout("mlx-q4", tmp_path)
    (tmp_path / "config.json").unlink()
    code, text = said(monkeypatch, capsys, path)
    assert code == 0
    assert "sessions  unknown: no config.json beside the file" in text


def test_something_else_is_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04" + bytes(100))
    code, text = said(monkeypatch, capsys, tmp_path / "model.pt")
    assert code == 1
    assert text == f"error: {tmp_path / 'model.pt'}: a pickle: opening it could run any code, so it never is; " + (
        "save the tensors as safetensors\n"
    )
