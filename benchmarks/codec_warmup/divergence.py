"""How far a codec that was warmed up with a stream's last frames is from one that has heard all of it.

A fresh session that begins at frame s has, at frame s + W, been warmed up with W frames. So one run from each of many
beginnings gives the figures for every W.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from pystoi import stoi
from torch import Tensor

from moshi_cluster.audio.frame import FRAMES_PER_S, MODEL_RATE_HZ
from moshi_cluster.models.mimi import Mimi

SECOND_FRAMES = int(FRAMES_PER_S)
"""What is looked at after the warm-up: 12 frames, what a caller hears around a switch."""
_SLOTS = 32  # fresh sessions that run side by side


class Codec(Protocol):
    """One direction of Mimi, a session in each slot."""

    def step(self, slots: Sequence[int], frames: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class EncoderLikeness:
    """Codes of the first frame, and of the first second, after a warm-up."""

    warmup_frames: int
    first_equal: float  # share of the first frame's codes that are those of the undisturbed encoder
    equal: float  # of the second's
    semantic_equal: float  # of the second's first codebook


@dataclass(frozen=True)
class DecoderLikeness:
    """Samples of the first second after a warm-up."""

    warmup_frames: int
    error_db: float  # energy of the difference beside that of the undisturbed decoder's sound
    largest: float  # difference, of samples from -1 to 1
    stoi: float  # intelligibility beside the undisturbed one, 1 for the same


def encoders(mimi: Mimi, pcm: Tensor, warmups: Sequence[int], starts: Sequence[int]) -> list[EncoderLikeness]:
    """pcm: [T, 1920]. starts: the frames at which fresh sessions begin."""
    wanted, got = _runs(mimi.encoder, pcm, warmups, starts)
    equal = wanted == got  # [starts, frames, K]
    return [
        EncoderLikeness(
            warmup,
            equal[:, warmup].float().mean().item(),
            equal[:, warmup : warmup + SECOND_FRAMES].float().mean().item(),
            equal[:, warmup : warmup + SECOND_FRAMES, 0].float().mean().item(),
        )
        for warmup in warmups
    ]


def decoders(mimi: Mimi, codes: Tensor, warmups: Sequence[int], starts: Sequence[int]) -> list[DecoderLikeness]:
    """codes: int64 [T, K]. starts: as above."""
    wanted, got = _runs(mimi.decoder, codes, warmups, starts)
    seconds = [slice(warmup, warmup + SECOND_FRAMES) for warmup in warmups]
    return [_heard(warmup, wanted[:, second], got[:, second]) for warmup, second in zip(warmups, seconds, strict=True)]


def _heard(warmup: int, wanted: Tensor, got: Tensor) -> DecoderLikeness:
    error = (got - wanted).double()
    ratio = error.square().sum() / wanted.double().square().sum()
    return DecoderLikeness(
        warmup,
        float(10 * torch.log10(ratio.clamp_min(1e-20))),
        float(error.abs().max()),
        float(stoi(_sound(wanted), _sound(got), MODEL_RATE_HZ)),
    )


def _runs(
    make: Callable[[int], Codec], frames: Tensor, warmups: Sequence[int], starts: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """What the undisturbed session gives after each start, and what the fresh ones give: two [starts, frames, …]."""
    length = max(warmups) + SECOND_FRAMES
    whole = _run(make(1), frames[None])[0]
    wanted = torch.stack([whole[start : start + length] for start in starts])
    fresh = []
    for first in range(0, len(starts), _SLOTS):
        group = starts[first : first + _SLOTS]
        fresh.append(_run(make(len(group)), torch.stack([frames[start : start + length] for start in group])))
    return wanted, torch.cat(fresh)


def _run(codec: Codec, frames: Tensor) -> Tensor:
    """frames: [N, T, …], a session each -> [N, T, …]."""
    slots = range(frames.shape[0])
    return torch.stack([codec.step(slots, frames[:, index]) for index in range(frames.shape[1])], dim=1)


def _sound(pcm: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return pcm.reshape(-1).double().numpy()
