"""Models that are measured, by name, with the sizes and weights of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.offline.random_on_device import on_device
from moshi_cluster.tools.checkpoint_sizes import MIDDLE, SMALL, mimi_config
from moshi_cluster.tools.random_lm import random_lm
from moshi_cluster.tools.random_mimi import random_mimi

_SEED = 1


@dataclass(frozen=True)
class ModelSize:
    """A model: an LM in bfloat16 or a codec in float32."""

    name: str
    title: str
    kind: str  # lm or mimi
    config: Mapping[str, Any]  # in the published spelling
    devices: tuple[str, ...] = ("cpu", "cuda")

    def tensors(self, device: torch.device) -> dict[str, Tensor]:
        """Random weights under their published names."""
        if self.kind == "mimi":
            return random_mimi(self.config, _SEED)
        return random_lm(self.config, _SEED) if device.type == "cpu" else on_device(self.config, device)


_MIDDLE = MIDDLE | {"depformer_num_heads": 4}
_SEVEN_B = _MIDDLE | {
    "dim": 4096,
    "num_heads": 32,
    "num_layers": 32,
    "context": 3000,
    "depformer_dim": 1024,
    "depformer_dim_feedforward": 4224,
    "depformer_num_heads": 16,
    "depformer_num_layers": 6,
}
_SMALL_MIMI = mimi_config(bins=SMALL["card"])


def _published_mimi() -> dict[str, Any]:
    width, config = 512, mimi_config(bins=2048)
    config["seanet"] |= {"dimension": width, "n_filters": 64}
    config["quantizer"] |= {"dimension": 256, "input_dimension": width, "output_dimension": width}
    config["transformer"] |= {"d_model": width, "num_heads": 8, "num_layers": 8, "dim_feedforward": 2048}
    config["transformer"] |= {"input_dimension": width, "output_dimensions": [width]}
    return config


MODEL_SIZES = [
    ModelSize("lm-small", "LM, small size", "lm", SMALL, ("cpu",)),
    ModelSize("lm-middle-250", "LM, middle size", "lm", _MIDDLE | {"context": 250}, ("cpu",)),
    ModelSize("lm-middle-3000", "LM, middle size", "lm", _MIDDLE | {"context": 3000}, ("cpu",)),
    ModelSize("lm-7b", "LM, 7B", "lm", _SEVEN_B, ("cuda",)),
    ModelSize("mimi-small", "Mimi, small size", "mimi", _SMALL_MIMI, ("cpu",)),
    ModelSize("mimi-published", "Mimi, published size", "mimi", _published_mimi()),
]
