"""Writes Triton's model repository for Mimi: `python -m tools.triton_repository --checkpoint FOLDER`.

Two models, one per direction, each with its configuration, the weights and the part of this package that runs them:
Triton needs nothing but PyTorch and what docs/triton.md lists beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from moshi_cluster.models.loading import Checkpoint, CheckpointError, Part, resolve
from moshi_cluster.models.mimi import MimiConfig
from moshi_cluster.services.codec.triton.contract import PROGRAMS, MimiParameters, model_name
from moshi_cluster.tools.triton_config import RepositoryOptions, config_pbtxt

DEFAULT_OUTPUT = Path("deploy/triton/models")
_MOST, _LONGEST = 1024, 3600.0
_VERSION = "1"
_WEIGHTS, _MIMI_CONFIG = "mimi.safetensors", "mimi_config.json"
_PACKAGE = Path(__file__).parents[1]  # holds the folders that are imported as moshi_cluster.<folder>
_CARRIED = ("audio", "models", "services/common", "services/codec")
_MODEL_PY = '''"""Mimi, as the package in this folder runs it, whatever else is installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from moshi_cluster.services.codec.triton.python_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def write_repository(checkpoint: Checkpoint, options: RepositoryOptions, output: Path) -> None:
    """Writes both models into the folder, over what they were. Raises OSError, ValueError."""
    config = MimiConfig() if checkpoint.mimi_config is None else MimiConfig.from_dict(checkpoint.mimi_config)
    for program in PROGRAMS:
        parameters = MimiParameters(
            program,
            checkpoint.fingerprint,
            config.frame_samples,
            checkpoint.codebooks,
            config.bins,
            options.slots * options.instances,
        )
        folder = output / model_name(options.name, program)
        shutil.rmtree(folder, ignore_errors=True)
        (folder / _VERSION).mkdir(parents=True)
        (folder / "config.pbtxt").write_text(config_pbtxt(parameters, options), encoding="utf-8")
        _write_version(folder / _VERSION, checkpoint)


def _write_version(folder: Path, checkpoint: Checkpoint) -> None:
    """A checkpoint folder of its own: Triton's stores fetch each model alone."""
    assert checkpoint.mimi_weights is not None  # Part.MIMI asked for them
    (folder / "model.py").write_text(_MODEL_PY, encoding="utf-8")
    _write_package(folder / "moshi_cluster")
    _link_or_copy(checkpoint.mimi_weights.resolve(), folder / _WEIGHTS)
    config = {"n_q": 2 * checkpoint.codebooks, "dep_q": checkpoint.codebooks, "mimi_name": _WEIGHTS}
    if checkpoint.mimi_config is not None:
        config["mimi_config_name"] = _MIMI_CONFIG
        (folder / _MIMI_CONFIG).write_text(json.dumps(checkpoint.mimi_config, indent=2) + "\n", encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _write_package(folder: Path) -> None:
    """The package as far as the models import it."""
    for carried in _CARRIED:
        for source in sorted((_PACKAGE / carried).rglob("*.py")):
            target = folder / source.relative_to(_PACKAGE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for name in ("__init__.py", "services/__init__.py"):
        (folder / name).touch()


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 when the checkpoint cannot be read or the folder not be written."""
    arguments = _parser().parse_args(argv)
    given = {name: value for name, value in vars(arguments).items() if name not in ("checkpoint", "output")}
    options = RepositoryOptions(**given)
    try:
        write_repository(resolve(arguments.checkpoint, parts=Part.MIMI), options, arguments.output)
    except (CheckpointError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    names = ", ".join(model_name(options.name, program) for program in PROGRAMS)
    print(f"{arguments.output}: {names}, {options.slots} slots", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools.triton_repository", description=__doc__.partition("\n\n")[0])
    defaults = RepositoryOptions()
    parser.add_argument("--checkpoint", required=True, help="a folder, or a repository owner/name[@revision]")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help=f"the repository ({DEFAULT_OUTPUT})")
    parser.add_argument(
        "--name", type=_name, default=defaults.name, help="models are called NAME_encode and NAME_decode"
    )
    parser.add_argument(
        "--slots", type=_count, default=defaults.slots, help="sequences of each model and instance (%(default)s)"
    )
    parser.add_argument(
        "--max-batch",
        type=_count,
        default=defaults.max_batch,
        help="of one step, with the strategy oldest (%(default)s)",
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default=defaults.device, help="%(default)s")
    parser.add_argument("--gpus", type=int, nargs="+", default=(), help="their numbers; all of them if absent")
    parser.add_argument(
        "--instances", type=_count, default=defaults.instances, help="of each model, per device (%(default)s)"
    )
    parser.add_argument("--threads", type=_count, default=defaults.threads, help="of a step on a CPU (%(default)s)")
    parser.add_argument(
        "--strategy",
        choices=("oldest", "direct"),
        default=defaults.strategy,
        help="of the sequence batcher (%(default)s)",
    )
    parser.add_argument(
        "--queue-delay-ms", type=_duration, default=defaults.queue_delay_ms, help="a frame may wait so long for others"
    )
    parser.add_argument(
        "--idle-timeout-s",
        type=_timeout,
        default=defaults.idle_timeout_s,
        help="longer than the codec's own (%(default)s)",
    )
    return parser


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a model")
    return text


def _count(text: str) -> int:
    if not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and {_MOST}")
    return int(text)


def _duration(text: str) -> float:
    if not 0 <= float(text) <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {_LONGEST:g}")
    return float(text)


def _timeout(text: str) -> float:
    if not 1 <= float(text) <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and {_LONGEST:g}")
    return float(text)


if __name__ == "__main__":
    sys.exit(main())
