"""Converts a checkpoint's LM to another layout: `python -m tools.convert_checkpoint SOURCE OUTPUT --layout mlx-q4`.

The source is a folder or a repository with dense weights in PyTorch's names. The output folder gets the weights and a
config.json that names them; tokenizer and codec are named as they lie in the source.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from moshi_cluster.models.loading import Checkpoint, CheckpointError, Part, SafetensorsFile, resolve
from moshi_cluster.tools.checkpoint_layouts import LAYOUTS, stacked
from moshi_cluster.tools.gguf import gguf

_MIMI_CONFIG = "mimi_config.json"


def convert(tensors: Mapping[str, Tensor], config: Mapping[str, Any], layout: str) -> tuple[str, bytes]:
    """A file's published name and its content, from published tensors and the LM part of a config.json."""
    make, name = LAYOUTS[layout]
    made = make(stacked(tensors), config)
    if name.endswith(".gguf"):
        return name, gguf(made)
    # Copies, for steps that share weights have one tensor in common, which safetensors does not write twice.
    return name, save({key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in made.items()})


def _codec_of(source: str) -> Checkpoint | None:
    """The source's codec; None, and said, where it cannot be had."""
    try:
        return resolve(source, parts=Part.MIMI)
    except CheckpointError as error:
        print(f"the codec is not named, name one where it is served: {error}", file=sys.stderr)
        return None


def _codec_names(codec: Checkpoint, output: Path) -> dict[str, str]:
    """What a config.json says of a codec. Writes the codec's own configuration, where it has one."""
    assert codec.mimi_weights is not None  # asked for
    names = {"mimi_name": f"file://{codec.mimi_weights.resolve()}"}
    if codec.mimi_config is not None:
        (output / _MIMI_CONFIG).write_text(json.dumps(codec.mimi_config, indent=2) + "\n", encoding="utf-8")
        names["mimi_config_name"] = _MIMI_CONFIG
    return names


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("source", help="a folder, or a repository owner/name[@revision]")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--layout", choices=sorted(LAYOUTS), required=True)
    arguments = parser.parse_args()
    try:
        checkpoint = resolve(arguments.source, parts=Part.LM)
        assert checkpoint.lm_weights is not None and checkpoint.tokenizer is not None  # Part.LM asked for them
        codec = _codec_of(arguments.source)
        tensors = SafetensorsFile(checkpoint.lm_weights)
        name, content = convert(tensors, checkpoint.lm_config, arguments.layout)
    except CheckpointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / name).write_bytes(content)
    tokenizer = f"file://{checkpoint.tokenizer.resolve()}"
    names = {"moshi_name": name, "tokenizer_name": tokenizer, "model_type": checkpoint.model_type}
    if codec is not None:
        names |= _codec_names(codec, arguments.output)
    config = dict(checkpoint.lm_config) | names | {"quantize": "int8" in arguments.layout}
    (arguments.output / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    print(f"{arguments.output / name}: {len(content) / 1e6:.1f} MB", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
