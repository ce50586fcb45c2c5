"""Every layout of one LM side by side: `python -m benchmarks.layouts`.

File size, resident memory, memory of a slot, time of a step, and how near its logits are to those of the dense model
in float32, teacher-forced along that model's own greedy conversation. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.layouts.variants import VARIANTS, Variant
from benchmarks.online.machine import machine
from models.moshi_lm import Generator, LmConfig, MoshiLm, Sampling
from models.moshi_lm.timeline import Timeline
from scripts.checkpoint_sizes import LM_CONFIGS
from scripts.convert_checkpoint import convert
from scripts.random_lm import random_lm

_GREEDY = Sampling(text_temperature=0.0, audio_temperature=0.0)
_COLUMNS = ("layout", "file MB", "weights MB", "slot MB", "step ms, batch 1", "batch 16", "top-1 text", "top-1 audio")
_BATCHES = (1, 16)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layouts", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--size", choices=sorted(LM_CONFIGS), default="middle", help="which random LM (middle)")
    parser.add_argument("--steps", type=int, default=20, help="steps timed for each batch (20)")
    parser.add_argument("--forced", type=int, default=500, help="steps of which logits are compared (500)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", help="variants whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = LM_CONFIGS[arguments.size]
    print(f"{arguments.size} LM on {arguments.device}; {json.dumps(machine())}; torch {torch.__version__}\n")
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}", flush=True)
    with tempfile.TemporaryDirectory() as work:
        for row in _rows(arguments, config, Path(work)):
            print(f"| {' | '.join(row)} |", flush=True)
    return 0


def _rows(arguments: argparse.Namespace, config: dict[str, Any], work: Path) -> Iterator[list[str]]:
    tensors = random_lm(config, seed=1)
    dense = MoshiLm.from_tensors(tensors, LmConfig.from_dict(config), torch.float32)
    tokens = conversation(dense, arguments.forced)
    del dense
    save_file(tokens, work / "tokens.safetensors")
    reference: dict[str, Tensor] | None = None
    for variant in VARIANTS:
        if reference is not None and arguments.only not in variant.name:
            continue
        folder = work / variant.layout
        size_mb = _write(folder, variant.layout, tensors, config)
        answer = _run(variant, folder, work, arguments)
        logits = load_file(work / "logits.safetensors")
        reference = reference or logits  # the first variant is dense, in float32
        yield [
            variant.name,
            f"{size_mb:.0f}",
            f"{answer['weights_mb']:.0f}",
            f"{answer['slot_mb']:.1f}",
            *(f"{answer['step_ms'][str(batch)]:.1f}" for batch in _BATCHES),
            *(_agreement(logits[name], reference[name]) for name in ("text", "audio")),
        ]


def conversation(lm: MoshiLm, steps: int) -> dict[str, Tensor]:
    """A greedy call with a caller of random codes: what the model reads, `inputs`, and chooses, `raw`, at each step."""
    config = lm.config
    frames = steps + config.max_delay
    codes = torch.randint(config.card, (frames, config.user_codebooks), generator=torch.Generator().manual_seed(0))
    generator = Generator(lm, 1)
    generator.open(0, _GREEDY)
    while generator.prefill(0, 1):
        pass
    history = []
    for frame in codes:
        reply = generator.step([0], frame[None])
        history.append(torch.cat([reply.text[:, None], reply.audio, frame[None]], dim=1))
    timeline, calls = Timeline(config, 1), torch.arange(steps)
    rows = torch.cat(history)
    # What was drawn before a stream's first frame is nowhere in the history; any code will do, always the same.
    raw = timeline.known(rows, calls)[:, : config.generated].clamp(min=0)
    return {"inputs": timeline.known_inputs(rows, calls), "raw": raw.contiguous()}


def _write(folder: Path, layout: str, tensors: dict[str, Tensor], config: dict[str, Any]) -> float:
    """The checkpoint in a layout, once; its size in MB."""
    folder.mkdir(exist_ok=True)
    name, content = convert(tensors, config, layout)
    (folder / name).write_bytes(content)
    (folder / "tokenizer").write_bytes(b"unused")
    names = {"moshi_name": name, "tokenizer_name": "tokenizer"}
    (folder / "config.json").write_text(json.dumps(config | names))
    return len(content) / 1e6


def _run(variant: Variant, folder: Path, work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    command = {
        "folder": str(folder),
        "dtype": variant.dtype,
        "quantize": variant.quantize,
        "kv_dtype": variant.kv_dtype,
        "device": arguments.device,
        "batches": _BATCHES,
        "steps": arguments.steps,
        "tokens": str(work / "tokens.safetensors"),
        "logits": str(work / "logits.safetensors"),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.layouts.run"],
        input=json.dumps(command),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def _agreement(logits: Tensor, reference: Tensor) -> str:
    """Share of equal choices, and the error's root mean square beside the logits' own spread."""
    same = (logits.argmax(-1) == reference.argmax(-1)).float().mean().item()
    error = (logits - reference).square().mean().sqrt() / reference.std()
    return f"{same:.1%}, {error:.3f}"


if __name__ == "__main__":
    sys.exit(main())
