"""A caller whose codes are a function of (call, frame), and runs of a generator against it."""

from __future__ import annotations

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm import Generator, LmConfig, MoshiLm, Sampling

GREEDY = Sampling(text_temperature=0.0, audio_temperature=0.0)


def user_frame(config: LmConfig, caller: int, frame: int) -> Tensor:
    """int64 [1, user codebooks]."""
    generator = torch.Generator().manual_seed(1000 * caller + frame)
    return torch.randint(config.card, (1, config.user_codebooks), generator=generator)


def open_ready(
    generator: Generator,
    slot: int,
    sampling: Sampling,
    history: Tensor | None = None,
    chunk_frames: int = 64,
    earlier_frames: int = 0,
) -> None:
    generator.open(slot, sampling, history, earlier_frames)
    while generator.prefill(slot, chunk_frames):
        pass


def speak(generator: Generator, config: LmConfig, slot: int, caller: int, frames: range) -> Tensor:
    """Steps one session alone -> history rows [frames, 1 + n_q]."""
    rows = []
    for frame in frames:
        codes = user_frame(config, caller, frame)
        reply = generator.step([slot], codes)
        rows.append(torch.cat([reply.text[:, None], reply.audio, codes], dim=1))
    return torch.cat(rows) if rows else torch.empty(0, config.streams, dtype=torch.int64)


def alone(lm: MoshiLm, sampling: Sampling, caller: int, frames: int) -> Tensor:
    """The whole session by itself -> history rows [frames, 1 + n_q]."""
    generator = Generator(lm, slots=1)
    open_ready(generator, 0, sampling)
    return speak(generator, lm.config, 0, caller, range(frames))
