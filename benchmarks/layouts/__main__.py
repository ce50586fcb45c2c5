"""Comparison of layouts: every layout of one LM side by side. `python -m benchmarks.layouts`.

File size, memory of weights and of a slot as counted and as measured, time of a step, and how near its logits are to
those of the dense model in float32, teacher-forced along that model's own greedy conversation. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.layouts.process import Sessions, VariantProcess
from benchmarks.layouts.subject import Subject, random_subject, trained_subject
from benchmarks.layouts.variants import VARIANTS, Variant
from benchmarks.machine import machine
from benchmarks.offline.measure import interleaved, times_faster
from moshi_cluster.models.loading import CheckpointError
from moshi_cluster.tools.checkpoint_sizes import LM_CONFIGS
from moshi_cluster.tools.convert_checkpoint import convert

_COLUMNS = (
    "layout",
    "file MB",
    "weights MB, counted",
    "measured",
    "slot MB, counted",
    "measured",
    "step ms, batch 1",
    "batch 16",
    "same text, error",
    "same audio, error",
)
_SIZES = ("weights_counted_mb", "weights_mb", "slot_counted_mb", "slot_mb")
_BATCHES = (1, 16)
_EXACT, _BASE = VARIANTS[0], VARIANTS[1]  # the reference of logits; of times


def main() -> int:
    """Command line."""
    arguments = _parser().parse_args()
    torch.set_num_threads(1)
    frames = arguments.forced + 1
    try:
        if arguments.size:
            subject = random_subject(arguments.size, frames)
        else:
            subject = trained_subject(arguments.checkpoint, arguments.voices, frames)
    except (CheckpointError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{subject.name} on {arguments.device}; {json.dumps(machine())}; torch {torch.__version__}\n")
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}", flush=True)
    variants = [v for v in VARIANTS if v in (_EXACT, _BASE) or arguments.only in v.name]
    with tempfile.TemporaryDirectory() as work:
        for row in _rows(subject, variants, arguments, Path(work)):
            print(f"| {' | '.join(row)} |", flush=True)
    return 0


def _rows(
    subject: Subject, variants: Sequence[Variant], arguments: argparse.Namespace, work: Path
) -> Iterator[list[str]]:
    save_file(subject.conversation(arguments.forced), work / "tokens.safetensors")
    files = {layout: _write(work / layout, layout, subject) for layout in {v.layout for v in variants}}
    processes = [VariantProcess(v, files[v.layout].parent, arguments.device, max(_BATCHES)) for v in variants]
    try:
        agreements = _agreements(processes, work)
        times = [_times(processes, batch, arguments) for batch in _BATCHES]
        for number, (process, agreement) in enumerate(zip(processes, agreements, strict=True)):
            size_mb = files[process.variant.layout].stat().st_size / 1e6
            sizes = (f"{process.sizes[key]:.1f}" for key in _SIZES)
            yield [process.variant.name, f"{size_mb:.1f}", *sizes, *(column[number] for column in times), *agreement]
    finally:
        for process in processes:
            process.end()


def _times(processes: Sequence[VariantProcess], batch: int, arguments: argparse.Namespace) -> list[str]:
    """Median milliseconds of each, and how many times the base's that is; measured in turns."""
    taken = interleaved([Sessions(process, batch) for process in processes], arguments.rounds, arguments.steps)
    base = next(t for t, process in zip(taken, processes, strict=True) if process.variant is _BASE)
    return [f"{times.median_ms:.2f} ({times_faster(base, times):.2f} x)" for times in taken]


def _agreements(processes: Sequence[VariantProcess], work: Path) -> list[list[str]]:
    """Text and audio of each against the exact one's."""
    reference: dict[str, Tensor] = {}
    answers = []
    for process in processes:
        process.write_logits(work / "tokens.safetensors", work / "logits.safetensors")
        logits = load_file(work / "logits.safetensors")
        reference = reference or logits
        answers.append([_agreement(logits[name], reference[name]) for name in ("text", "audio")])
    return answers


def _agreement(logits: Tensor, reference: Tensor) -> str:
    """Share of equal choices, and the error's root mean square beside the logits' own spread."""
    same = (logits.argmax(-1) == reference.argmax(-1)).float().mean().item()
    error = (logits - reference).square().mean().sqrt() / reference.std()
    return f"{same:.1%}, {error:.3f}"


def _write(folder: Path, layout: str, subject: Subject) -> Path:
    """The checkpoint in a layout."""
    folder.mkdir()
    name, content = convert(subject.tensors, subject.config, layout)
    (folder / name).write_bytes(content)
    (folder / "tokenizer").write_bytes(b"unused")
    names = {"moshi_name": name, "tokenizer_name": "tokenizer"}
    (folder / "config.json").write_text(json.dumps(subject.config | names))
    return folder / name


def _parser() -> argparse.ArgumentParser:
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layouts", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--checkpoint", type=Path, default=root / "checkpoints" / "demo", help="a dense one (the demo)")
    parser.add_argument(
        "--voices", type=Path, default=root / "tests" / "exchanges", help="recordings that it hears (the tests')"
    )
    parser.add_argument("--size", choices=sorted(LM_CONFIGS), help="random weights of this size instead")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each variant (5)")
    parser.add_argument("--steps", type=int, default=10, help="steps in a turn (10)")
    parser.add_argument("--forced", type=int, default=500, help="steps of which logits are compared (500)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", help="variants whose name contains this")
    return parser


if __name__ == "__main__":
    sys.exit(main())
