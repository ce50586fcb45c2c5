"""Files written here are read by upstream's own packages, and say the same there.

Needs interpreters with those packages: MOSHI_UPSTREAM_PYTHON (PyPI `moshi`) and MOSHI_MLX_PYTHON (PyPI `moshi_mlx`).
Without them tests/models/loading/test_layouts.py reads the same files back here.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from moshi_cluster.models.loading import FileNames, Part, resolve
from moshi_cluster.models.loading.lm import load_lm
from moshi_cluster.models.moshi_lm.teacher import teacher_forced
from moshi_cluster.tools.convert_checkpoint import convert

READERS = Path(__file__).parents[3] / "benchmarks" / "layouts"
STEPS = 24  # below the context: moshi_mlx attends to one key more
LOGITS = 5e-4
# Upstream's int8 layers run in float16.
INT8_LOGITS = 0.15
SAME_AUDIO = 0.97
TORCH = ("pytorch-bf16", "pytorch-bf16-modules", "pytorch-int8", "pytorch-int8-modules")
MLX = {"mlx-bf16": 0, "mlx-q8": 8, "mlx-q4": 4}


def interpreter(variable: str) -> str:
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no interpreter with upstream's package")
    return python


def read_by(python: str, reader: str, layout: str, golden_dir: Path, folder: Path, *more: str) -> None:
    """Compares upstream's run of a converted golden model with our own of the same file."""
    source = golden_dir / "lm_tiny"
    config = json.loads((source / "config.json").read_text())
    name, content = convert(load_file(source / "model.safetensors"), config, layout)
    weights, tokens, output = folder / name, folder / "tokens.safetensors", folder / "output.safetensors"
    weights.write_bytes(content)
    (folder / "config.json").write_text(json.dumps(config | {"quantize": "int8" in layout}))
    golden = load_file(source / "outputs_f32.safetensors")
    inputs, raw_text = golden["model_inputs"][:STEPS].contiguous(), golden["raw_text"][:STEPS].contiguous()
    save_file({"inputs": inputs, "raw_text": raw_text}, tokens)
    command = [python, str(READERS / reader), *map(str, (weights, folder / "config.json", tokens, output)), *more]
    environment = {"PATH": os.environ["PATH"], "NO_TORCH_COMPILE": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    theirs = load_file(output)

    files = FileNames(config=str(folder / "config.json"), lm=str(weights))
    lm = load_lm(resolve(str(source), files, Part.LM), torch.float32)
    raw = torch.cat([raw_text[:, None], theirs["audio"]], dim=1)
    ours = teacher_forced(lm, inputs, raw)
    most = INT8_LOGITS if "int8" in layout else LOGITS
    difference = ours.text_logits - theirs["text_logits"].float()
    assert difference.square().mean().sqrt() < most
    assert (ours.audio_logits.argmax(-1) == theirs["audio"]).float().mean() >= SAME_AUDIO


@pytest.mark.timeout(900)
@pytest.mark.parametrize("layout", TORCH)
def test_moshi_reads_what_was_written_for_pytorch(layout: str, golden_dir: Path, tmp_path: Path) -> None:
    read_by(interpreter("MOSHI_UPSTREAM_PYTHON"), "upstream_torch.py", layout, golden_dir, tmp_path)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("layout", MLX)
def test_moshi_mlx_reads_what_was_written_for_mlx(layout: str, golden_dir: Path, tmp_path: Path) -> None:
    python = interpreter("MOSHI_MLX_PYTHON")
    read_by(python, "upstream_mlx.py", layout, golden_dir, tmp_path, str(MLX[layout]))
