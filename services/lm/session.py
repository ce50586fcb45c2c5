"""What a session of the lm service is: sampling and history, free of wire and tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class SessionSpec:
    """A conversation, completely: how tokens are drawn and what was said so far."""

    text_temperature: float
    text_top_k: int
    audio_temperature: float
    audio_top_k: int
    seed: int
    history: npt.NDArray[np.int64]  # [frames, 1 + K]: text token, Moshi's codes, user's codes
    padding_multiplier: float = 0.0
    repetition_penalty: float = 1.0
    repetition_penalty_context: int = 64  # text tokens


@dataclass(frozen=True)
class LmReply:
    """Moshi's 80 ms in answer to one user frame."""

    moshi_codes: list[int]
    text_token: int
    text_piece: str
