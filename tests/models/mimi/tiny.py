"""The small codec of the golden set, its input and its reference outputs."""

from __future__ import annotations

import json
import wave
from functools import cache

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from moshi_cluster.models.mimi import Mimi, MimiConfig
from tests.golden_set import golden_dir

FRAME_SAMPLES = 1920


@cache
def config() -> MimiConfig:
    return MimiConfig.from_dict(json.loads((golden_dir() / "mimi_tiny/mimi_config.json").read_text()))


@cache
def tensors() -> dict[str, Tensor]:
    return load_file(golden_dir() / "mimi_tiny/mimi.safetensors")


@cache
def mimi(codebooks: int) -> Mimi:
    return Mimi.from_tensors(tensors(), config(), codebooks)


@cache
def reference(name: str) -> dict[str, Tensor]:
    """name: outputs or batch2."""
    return load_file(golden_dir() / f"mimi_tiny/{name}.safetensors")


@cache
def voice(name: str) -> Tensor:
    """float32 [1, samples] of user_a or user_b."""
    with wave.open(str(golden_dir() / f"audio/{name}.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    return torch.from_numpy(samples.astype(np.float32) / 32768)[None]


def frames(pcm: Tensor) -> Tensor:
    """[1, samples] -> [frames, 1, FRAME_SAMPLES]."""
    return pcm.view(-1, 1, FRAME_SAMPLES)
