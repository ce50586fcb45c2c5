"""Command line of the offline benchmark."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.offline.model_sizes import MODEL_SIZES, ModelSize

_UPSTREAM_VARIABLE = "MOSHI_UPSTREAM_PYTHON"
_BATCHES = "1,2,4,8,16,32"
_QUICK_SIZES = "lm-small,mimi-small"


@dataclass(frozen=True)
class Options:
    """Checked."""

    sizes: list[ModelSize]
    batches: list[int]
    device: torch.device
    threads: int
    rounds: int
    steps: int
    rates_s: float  # for each figure of the machine
    upstream_python: str | None
    profile: bool
    json_file: Path | None


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Exits with a message for values that cannot be."""
    parser = _parser()
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU")
    names = (given.parts or (_QUICK_SIZES if given.quick else None)) or None
    sizes = _sizes(parser, names, device)
    batches = _counts(parser, given.batches or ("1,2" if given.quick else _BATCHES))
    if min(given.rounds, given.steps, given.threads) < 1:
        parser.error("--rounds, --steps and --threads: at least 1")
    upstream = given.upstream_python if device.type == "cpu" and not given.profile else None
    return Options(
        sizes=sizes,
        batches=batches,
        device=device,
        threads=given.threads,
        rounds=1 if given.quick else given.rounds,
        steps=2 if given.quick else given.steps,
        rates_s=0.05 if given.quick else 0.5,
        upstream_python=upstream or None,
        profile=given.profile,
        json_file=given.json,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.offline",
        description="Milliseconds per LM step and per codec frame against batch size, beside the original "
        "implementation and beside what the machine allows.",
    )
    names = ", ".join(size.name for size in MODEL_SIZES)
    parser.add_argument("--parts", help=f"comma-separated, of {names}; all that fit the device unless given")
    parser.add_argument("--batches", help=f"comma-separated numbers of sessions; {_BATCHES} unless given")
    parser.add_argument("--rounds", type=int, default=5, help="how often ours and upstream take turns; default 5")
    parser.add_argument("--steps", type=int, default=10, help="steps of each in a round; default 10")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; on cuda the 7B shapes are run; default cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads of either")
    parser.add_argument(
        "--upstream-python",
        metavar="PATH",
        default=os.environ.get(_UPSTREAM_VARIABLE),
        help="an interpreter that has PyPI's moshi, measured beside ours on CPU; default: the environment variable "
        f"{_UPSTREAM_VARIABLE}, else upstream is left out",
    )
    parser.add_argument("--profile", action="store_true", help="say instead where our time goes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="a smoke test: smallest models, two steps")
    return parser


def _sizes(parser: argparse.ArgumentParser, names: str | None, device: torch.device) -> list[ModelSize]:
    fitting = [size for size in MODEL_SIZES if device.type in size.devices]
    if names is None:
        return fitting
    by_name = {size.name: size for size in fitting}
    unknown = [name for name in names.split(",") if name not in by_name]
    if unknown:
        parser.error(f"--parts: {unknown[0]!r} is none of {', '.join(by_name)} on {device.type}")
    return [by_name[name] for name in names.split(",")]


def _counts(parser: argparse.ArgumentParser, text: str) -> list[int]:
    numbers = text.split(",")
    if not all(number.isdecimal() and int(number) > 0 for number in numbers):
        parser.error(f"--batches: expected positive numbers, found {text!r}")
    return [int(number) for number in numbers]
