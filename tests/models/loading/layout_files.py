"""A small LM in every published layout, as files."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from moshi_cluster.tools.checkpoint_layouts import LAYOUTS
from moshi_cluster.tools.checkpoint_sizes import SMALL
from moshi_cluster.tools.convert_checkpoint import convert
from moshi_cluster.tools.random_lm import random_lm

# Every width divides into groups of 64; large vocabularies, so that a file is large beside what loading needs anyway.
CONFIG: dict[str, Any] = SMALL | {
    "dim": 64,
    "num_heads": 2,
    "num_layers": 1,
    "hidden_scale": 3.0,  # feed-forward 128
    "n_q": 4,
    "dep_q": 2,
    "delays": [0, 0, 1, 0, 1],
    "text_card": 4096,
    "card": 64,
    "context": 8,
    "depformer_dim": 64,
    "depformer_dim_feedforward": 192,
    "depformer_num_heads": 2,
}


@cache
def published() -> dict[str, Tensor]:
    return random_lm(CONFIG, 1)


def write_layout(layout: str, folder: Path, config: dict[str, Any] = CONFIG) -> Path:
    """The file, beside its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    name, content = convert(published() if config is CONFIG else random_lm(config, 1), config, layout)
    (folder / name).write_bytes(content)
    (folder / "tokenizer.model").write_bytes(b"pieces")
    config = config | {"moshi_name": name, "tokenizer_name": "tokenizer.model", "quantize": "int8" in layout}
    (folder / "config.json").write_text(json.dumps(config))
    return folder / name


ALL = tuple(LAYOUTS)
