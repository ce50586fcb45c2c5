"""Writes a small, randomly initialised checkpoint in exactly the published layout: `python -m tools.make_checkpoint`.

Its voice is noise and its text is word salad; everything else about it (file names, tensor names, configuration,
tokenizer) is as in a published repository. The same size gives the same bytes, every time.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

from safetensors.torch import save
from sentencepiece import SentencePieceTrainer

from moshi_cluster.tools.checkpoint_sizes import LM_CONFIGS, mimi_config
from moshi_cluster.tools.corpus import sentences
from moshi_cluster.tools.random_lm import random_lm
from moshi_cluster.tools.random_mimi import random_mimi
from moshi_cluster.tools.whole_folder import whole_folder

_CACHE = Path(__file__).resolve().parent.parent / ".cache" / "checkpoint"
_SEED = 1
_TOKENIZER_PIECES = 512


def folder_of(size: str) -> Path:
    """Where a checkpoint of this size is kept."""
    return _CACHE / size


def make(folder: Path, size: str = "small", if_missing: bool = False) -> bool:
    """Writes the checkpoint; the folder appears complete or not at all. False when it was there already.

    if_missing: keep a folder that holds this very checkpoint.
    """
    config = LM_CONFIGS[size]
    if if_missing and _holds(folder, config):
        return False
    with whole_folder(folder) as new:
        _write(new, config)
    return True


def _holds(folder: Path, config: dict[str, Any]) -> bool:
    try:
        return bool(json.loads((folder / "config.json").read_text(encoding="utf-8")) == config)
    except (OSError, ValueError):
        return False


def _write(folder: Path, config: dict[str, Any]) -> None:
    mimi = mimi_config(bins=config["card"])
    # Not save_file, which makes files that only their owner can read.
    (folder / config["moshi_name"]).write_bytes(save(random_lm(config, _SEED)))
    (folder / config["mimi_name"]).write_bytes(save(random_mimi(mimi, _SEED)))
    (folder / config["tokenizer_name"]).write_bytes(train_tokenizer(_TOKENIZER_PIECES))
    _write_json(folder / config["mimi_config_name"], mimi)
    _write_json(folder / "config.json", config)


def train_tokenizer(pieces: int) -> bytes:
    """A SentencePiece model with the published special ids: unknown 0, begin 1, end 2, padding 3."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(sentences()),
        model_writer=model,
        vocab_size=pieces,
        model_type="bpe",  # from little text it still makes whole words
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        num_threads=1,  # more threads sum in another order
        minloglevel=2,
    )
    return model.getvalue()


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--size", choices=sorted(LM_CONFIGS), default="small", help="which configuration")
    parser.add_argument("--output", type=Path, help="folder to write, .cache/checkpoint/SIZE unless given")
    parser.add_argument("--if-missing", action="store_true", help="do nothing when it is there already")
    arguments = parser.parse_args()
    folder = arguments.output or folder_of(arguments.size)
    start_s = time.monotonic()
    if make(folder, arguments.size, arguments.if_missing):
        size_mb = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        print(f"made {folder}: {size_mb:.0f} MB in {time.monotonic() - start_s:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
