"""Checkpoint inspector: what a checkpoint is and how many sessions would fit. `python -m models.inspect PATH`.

PATH is a file of weights, a folder, or a repository owner/name[@revision]; of a repository only config.json and the LM
are fetched.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from moshi_cluster.models.free_memory import free_bytes
from moshi_cluster.models.loading import CheckpointError, FileNames, Part, resolve
from moshi_cluster.models.loading.dry_run import why_not_served
from moshi_cluster.models.loading.inspect_lm import LmFile, inspect_lm
from moshi_cluster.models.moshi_lm import LmConfig
from moshi_cluster.models.moshi_lm.sizes import Fit, slot_size

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
_SHARE = 0.8


def report(arguments: argparse.Namespace) -> Iterator[str]:
    """Lines of text. Raises CheckpointError."""
    path, checkpoint = Path(arguments.path).expanduser(), None
    if not path.is_file():
        checkpoint = resolve(arguments.path, parts=Part.LM_WEIGHTS)
        assert checkpoint.lm_weights is not None  # Part.LM_WEIGHTS asked for it
        path = checkpoint.lm_weights
    elif path.with_name("config.json").is_file():
        checkpoint = resolve(str(path.parent), FileNames(lm=str(path)), Part.LM_WEIGHTS)
    file = inspect_lm(path)
    yield from _weights(file, arguments)
    if checkpoint is None:
        yield _line("sessions", "unknown: no config.json beside the file")
        return
    reason = why_not_served(checkpoint)
    yield _line("served", "yes" if reason is None else f"no, because {reason}")
    if reason is None:
        yield from _sessions(LmConfig.from_dict(checkpoint.lm_config), arguments, file)


def _weights(file: LmFile, arguments: argparse.Namespace) -> Iterator[str]:
    types = ", ".join(f"{count} {name}" for name, count in sorted(file.stored_types.items()))
    parameters = sum(file.kinds.values())
    yield _line("file", f"{file.path.name}, {file.path.stat().st_size / 1e6:.1f} MB, {file.container} ({types})")
    yield _line("names", f"{file.names.value}'s")
    for kind, count in file.kinds.most_common():
        yield _line("values", f"{count / 1e6:.2f} M {kind} ({count / parameters:.0%})")
    activations = _activations(file, arguments)
    weights_mb = file.memory_bytes(activations, arguments.quantize) / 1e6
    yield _line("memory", f"about {weights_mb:.1f} MB for the weights with {activations} activations")


def _sessions(config: LmConfig, arguments: argparse.Namespace, file: LmFile) -> Iterator[str]:
    activations = _activations(file, arguments)
    weights_bytes = file.memory_bytes(activations, arguments.quantize)
    yield _line(
        "model",
        f"{config.num_layers} layers of {config.dim}, {config.num_heads} heads; depth {config.depformer_num_layers} of "
        f"{config.depformer_dim}; {config.dep_q} codebooks spoken, {config.user_codebooks} heard; "
        f"{config.context} frames of context",
    )
    yield _line("prompts", "taken: a voice and a role per call" if config.prompt_codes is not None else "none taken")
    slot = slot_size(config, arguments.context, _DTYPES[arguments.kv_dtype or activations])
    yield _line("slot", str(slot))
    free = free_bytes(arguments.device)
    if free is None:
        yield _line("sessions", f"unknown: nobody tells the free memory of {arguments.device}")
    else:
        yield _line("sessions", str(Fit(max(0, free - weights_bytes), _SHARE, slot)))
        yield _line("", f"({free / 1e6:.0f} MB free on {arguments.device} less the weights)")


def _activations(file: LmFile, arguments: argparse.Namespace) -> str:
    """The type of activations, as the lm worker chooses it."""
    on_cpu = torch.device(arguments.device).type == "cpu"
    dense = not file.quantised and arguments.quantize is None
    return arguments.dtype or ("float32" if on_cpu and dense else "bfloat16")


def _line(label: str, text: str) -> str:
    return f"{label:<10}{text}"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.inspect", description=__doc__.partition("\n\n")[0])
    parser.add_argument("path", help="a file of weights, a folder, or a repository owner/name[@revision]")
    parser.add_argument("--device", default="cpu", help="where sessions would run (cpu)")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="of activations; as the lm worker would choose"
    )
    parser.add_argument("--quantize", choices=("int8", "int4"), help="what dense weights would become")
    parser.add_argument("--kv-dtype", choices=tuple(_DTYPES), help="of keys and values; the activations' if absent")
    parser.add_argument("--context", type=int, help="frames of context, if fewer than the configuration's")
    try:
        for line in report(parser.parse_args()):
            print(line)
    except CheckpointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
