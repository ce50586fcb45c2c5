"""Small tokenised sessions."""

from __future__ import annotations

import numpy as np

from training.tokens import TokenSession


def session(seed: int, frames: int = 60, asked: str = "spell cat", bins: int = 20, pieces: int = 24) -> TokenSession:
    """Random tokens with one question from 1.6 s to 2.4 s and Moshi's voice for half a second after it."""
    random = np.random.default_rng(seed)
    active = np.zeros(frames, dtype=np.bool_)
    active[35:41] = True
    turn = {
        "kind": "spell",
        "user_text": asked,
        "reply_text": "cat is c a t",
        "user_start_s": 1.6,
        "user_end_s": 2.4,
        "reply_start_s": 2.8,
        "reply_end_s": 3.3,
        "interrupts": False,
        "interrupted": False,
        "unseen": False,
    }
    return TokenSession(
        text=random.integers(0, pieces, frames).astype(np.int16),
        moshi=random.integers(0, bins, (8, frames)).astype(np.uint8),
        user=random.integers(0, bins, (8, frames)).astype(np.uint8),
        user_phones=random.integers(0, 40, (frames, 4)).astype(np.uint8),
        moshi_active=active,
        turns=[turn],
    )
