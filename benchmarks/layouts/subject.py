"""Subject of the comparison: a dense LM, and what it hears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.g711 import G711_RATE_HZ, decode_mulaw
from moshi_cluster.audio.pcm import Samples
from moshi_cluster.audio.spectral_resample import resample_recording
from moshi_cluster.clients.cli.telephone_wav import read_telephone_wav
from moshi_cluster.models.loading import SafetensorsFile, resolve
from moshi_cluster.models.loading.mimi import load_mimi
from moshi_cluster.models.moshi_lm import Generator, LmConfig, MoshiLm, Sampling
from moshi_cluster.models.moshi_lm.timeline import Timeline
from moshi_cluster.tools.checkpoint_sizes import LM_CONFIGS
from moshi_cluster.tools.random_lm import random_lm

_GREEDY = Sampling(text_temperature=0.0, audio_temperature=0.0)


@dataclass(frozen=True)
class Subject:
    """A dense LM."""

    name: str
    tensors: Mapping[str, Tensor]  # by their published PyTorch names
    config: dict[str, Any]  # the LM part of a config.json
    heard: Tensor  # int64 [T, codebooks of the user]

    def conversation(self, steps: int) -> dict[str, Tensor]:
        """A greedy call in float32: what the model reads, `inputs`, and chooses, `raw`, at each step."""
        config = LmConfig.from_dict(self.config)
        lm = MoshiLm.from_tensors(self.tensors, config, torch.float32)
        generator = Generator(lm, 1)
        generator.open(0, _GREEDY)
        while generator.prefill(0, 1):
            pass
        history = []
        for frame in self.heard[: steps + config.max_delay]:
            reply = generator.step([0], frame[None])
            history.append(torch.cat([reply.text[:, None], reply.audio, frame[None]], dim=1))
        timeline, rows, calls = Timeline(config, 1), torch.cat(history), torch.arange(steps)
        # What was drawn before a stream's first frame is nowhere in the history; any code will do, always the same.
        raw = timeline.known(rows, calls)[:, : config.generated].clamp(min=0)
        return {"inputs": timeline.known_inputs(rows, calls), "raw": raw.contiguous()}


def random_subject(size: str, frames: int) -> Subject:
    """Random weights, hearing random codes."""
    config = LM_CONFIGS[size]
    user_codebooks = config["n_q"] - config["dep_q"]
    heard = torch.randint(config["card"], (frames, user_codebooks), generator=torch.Generator().manual_seed(0))
    return Subject(f"random LM, size {size}", random_lm(config, seed=1), config, heard)


def trained_subject(folder: Path, voices: Path, frames: int) -> Subject:
    """A dense checkpoint in PyTorch's layout, hearing recorded calls (8 kHz mu-law WAV), one after the other.

    Raises CheckpointError, OSError, and ValueError for too few recordings.
    """
    checkpoint = resolve(str(folder))
    assert checkpoint.lm_weights is not None  # everything was asked for
    mimi = load_mimi(checkpoint)
    sound = torch.from_numpy(_heard(sorted(voices.glob("*.wav"))))
    encoder = mimi.encoder(1)
    size = mimi.config.frame_samples
    codes = [encoder.step([0], frame[None]) for frame in sound[: frames * size].split(size) if len(frame) == size]
    if len(codes) < frames:
        raise ValueError(f"{voices}: {len(codes)} frames of recordings, {frames} are wanted")
    tensors = SafetensorsFile(checkpoint.lm_weights)
    return Subject(f"{folder.name} checkpoint", tensors, dict(checkpoint.lm_config), torch.cat(codes))


def _heard(recordings: Sequence[Path]) -> Samples:
    """Telephone recordings, one after the other, at the codec's rate."""
    narrow = np.concatenate([decode_mulaw(read_telephone_wav(path).data) for path in recordings])
    return resample_recording(narrow, MODEL_RATE_HZ / G711_RATE_HZ)
