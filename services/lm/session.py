"""A session of the lm service: sampling and history, free of wire and tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moshi_cluster.models.sampling import Sampling


@dataclass(frozen=True, eq=False)
class SessionSpec:
    """Conversation, completely: how tokens are drawn, as whom, and what was said so far."""

    sampling: Sampling
    history: npt.NDArray[np.int64]  # [frames, 1 + K]: text token, Moshi's codes, user's codes
    earlier_frames: int = 0  # before those of the history
    prompt: Any = None  # what was before it, as the model's personas make it
    prompt_frames: int = 0


@dataclass(frozen=True)
class LmReply:
    """Moshi's 80 ms in answer to one user frame."""

    moshi_codes: list[int]
    text_token: int
    text_piece: str
