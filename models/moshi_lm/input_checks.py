"""Checks of what comes into a session from outside: its history, and the user's codes of a frame."""

from __future__ import annotations

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm.config import LmConfig
from moshi_cluster.models.moshi_lm.prompt import Prompt


def with_prompt(history: Tensor, prompt: Prompt | None, config: LmConfig) -> Tensor:
    """All that was before a session, int64 [P + n, streams] on the host. Raises ValueError."""
    check_history(history, config)
    history = history.cpu().to(torch.int64)
    if prompt is None:
        return history
    check_history(prompt.frames, config)
    return torch.cat((prompt.frames, history))


def check_history(history: Tensor, config: LmConfig) -> None:
    """Raises ValueError for a history that the model cannot have produced."""
    if history.dim() != 2 or history.shape[1] != config.streams or history.is_floating_point():
        raise ValueError(f"history: expected integers [n, {config.streams}], found {_described(history)}")
    if len(history) and bool(((history < 0) | (history > torch.tensor(config.initial_tokens))).any()):
        raise ValueError(f"history: text beyond 0..{config.text_card} or codes beyond 0..{config.card}")


def check_user_codes(codes: Tensor, rows: int, config: LmConfig) -> None:
    """Raises ValueError unless there are codes of every user codebook for that many rows."""
    if tuple(codes.shape) != (rows, config.user_codebooks) or codes.is_floating_point():
        raise ValueError(f"user_codes: expected integers [{rows}, {config.user_codebooks}], found {_described(codes)}")
    if codes.numel() and bool(((codes < 0) | (codes > config.card)).any()):
        raise ValueError(f"user_codes: beyond 0..{config.card}")


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
