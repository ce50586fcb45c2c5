"""A codec that trains in milliseconds per step, and calls to train it on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.models.mimi import MimiConfig
from moshi_cluster.tools.random_mimi import random_mimi
from training.mimi.crops import Crops
from training.mimi.network import TrainableMimi
from training.mimi.sizes import demo_config
from training.world.phones import PHONES, PHONES_PER_FRAME
from training.world.session import SoundSession
from training.world.store import path_of, save

BINS = 16


def small_config() -> dict[str, Any]:
    config = demo_config()
    config["seanet"] |= {"dimension": 16, "n_filters": 2}
    config["quantizer"] |= {"dimension": 4, "bins": BINS, "n_q": 4, "input_dimension": 16, "output_dimension": 16}
    config["transformer"] |= {
        "d_model": 16,
        "num_heads": 2,
        "num_layers": 2,
        "context": 7,
        "dim_feedforward": 32,
        "input_dimension": 16,
        "output_dimensions": [16],
    }
    return config


def small_network() -> TrainableMimi:
    return TrainableMimi(MimiConfig.from_dict(small_config()))


def small_weights() -> dict[str, torch.Tensor]:
    """Of a codec with random codebooks: an untrained one has none yet."""
    return random_mimi(small_config(), seed=3)


def noise(clips: int, frames: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(clips, frames * FRAME_SAMPLES, generator=generator)


def crops(clips: int, frames: int, seed: int = 0) -> Crops:
    """Tones that change from frame to frame, and phones that follow them."""
    random = np.random.default_rng(seed)
    phones = random.integers(1, len(PHONES), (clips, frames, 1)).repeat(PHONES_PER_FRAME, axis=2)
    turns = np.arange(FRAME_SAMPLES) / FRAME_SAMPLES
    pcm = 0.1 * np.sin(2 * np.pi * 10 * phones[:, :, :1] * turns)
    heard = torch.from_numpy(pcm.reshape(clips, -1).astype(np.float32))
    return Crops(heard, heard, torch.from_numpy(phones))


def session(frames: int, seed: int) -> SoundSession:
    """A caller who hums all the time, and a Moshi who says something in every third stretch of ten frames."""
    random = np.random.default_rng(seed)
    samples = frames * FRAME_SAMPLES
    user = random.normal(0, 2000, samples).astype(np.int16)
    speaks = np.arange(frames) // 10 % 3 == 0
    moshi = (user * speaks.repeat(FRAME_SAMPLES)).astype(np.int16)
    phones = (np.arange(frames * PHONES_PER_FRAME) % 40 + 1).astype(np.uint8)
    return SoundSession(user, moshi, phones, phones * speaks.repeat(PHONES_PER_FRAME), (), (), {})


def write_sessions(folder: Path, count: int, frames: int = 60) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        save(session(frames, number), path_of(folder, number))
