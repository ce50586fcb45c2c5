"""Prompt of a session: frames that the model has lived through before the conversation (docs/model.md 2.8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm.config import LmConfig

SPACER_FRAMES = 6
"""Silence between and after the parts of a prompt: half a second."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """Frames as a history has them, and what the model reads at its first calls in place of their tokens."""

    key: str  # the same for equal prompts
    frames: Tensor  # int64 [P, streams]
    embeddings: Tensor | None = None  # float [T, D], T < P

    def embedded(self, first: int, end: int) -> Tensor | None:
        """What calls first to end read in place of tokens, those that do: [n, D], n at most end - first."""
        if self.embeddings is None or first >= len(self.embeddings):
            return None
        return self.embeddings[first:end]


@dataclass(frozen=True, eq=False)
class Voice:
    """A voice prompt: its frames, and perhaps their embeddings."""

    frames: Tensor  # int64 [T, streams]; with embeddings only the last of them are told
    embeddings: Tensor | None = None  # float [T, D]


def voice_of_codes(codes: Tensor, config: LmConfig) -> Voice:
    """codes: int64 [T, own codebooks], what the model itself says; text is padding, the user's side the tone.

    The original's first call only fills its cache: its first frame is never read, and is left out here.
    """
    return Voice(_frames(config, [config.existing_text_padding_id] * len(codes), codes)[1:])


def voice_of_embeddings(embeddings: Tensor, cache: Tensor, config: LmConfig) -> Voice:
    """embeddings: float [T, D], what the model reads at its first T calls; cache: int64 [streams, max_delay + 3].

    The cache has the tokens of the last positions, position p at place p mod its size; position 0 is the initial one.
    """
    count, size = len(embeddings), config.max_delay + 3
    frames = _frames(config, [config.existing_text_padding_id] * count, _silence(config, count))
    stream, delays = torch.arange(config.streams), torch.tensor(config.delays)
    for frame in range(max(0, count - 1 - config.max_delay), count):
        frames[frame] = cache[stream, (frame + 1 + delays) % size]
    return Voice(frames, embeddings)


def prompt_frames(voice: Voice | None, text: Sequence[int], config: LmConfig) -> Tensor:
    """Voice, spacer, text, spacer, in the original's order and counts: int64 [P, streams]. text: tokens."""
    padding = [config.existing_text_padding_id] * SPACER_FRAMES
    tokens = [*padding, *text, *padding]
    rest = _frames(config, tokens, _silence(config, len(tokens)))
    return rest[1:] if voice is None else torch.cat((voice.frames, rest))


def _silence(config: LmConfig, frames: int) -> Tensor:
    assert config.prompt_codes is not None  # who makes a prompt has looked
    return torch.tensor(config.prompt_codes.silence).expand(frames, -1)


def _frames(config: LmConfig, text: Sequence[int], own: Tensor) -> Tensor:
    assert config.prompt_codes is not None  # who makes a prompt has looked
    user = torch.tensor(config.prompt_codes.tone).expand(len(text), -1)
    return torch.cat((torch.tensor(text, dtype=torch.int64)[:, None], own, user), dim=1)
