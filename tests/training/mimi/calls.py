"""Calls in which Moshi hums different tones, as sound and as tokens."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.models.mimi import Mimi, MimiConfig
from tests.training.mimi.small import small_config, small_weights
from training import tokens
from training.tokens import TokenSession, encode
from training.world.phones import PHONES_PER_FRAME
from training.world.session import SoundSession, Turn
from training.world.store import path_of, save

FRAMES = 80
REPLIES_AT = (25, 50)  # frames
REPLY_FRAMES = 8
FRAME_S = 0.08


def call(number: int, replies: tuple[str, str] = ("low", "high")) -> SoundSession:
    """Each reply is a tone of its own; the caller makes noise all the time."""
    random = np.random.default_rng(number)
    moshi = np.zeros(FRAMES * FRAME_SAMPLES)
    turns = []
    for at, reply in zip(REPLIES_AT, replies, strict=True):
        samples = np.arange(REPLY_FRAMES * FRAME_SAMPLES)
        moshi[at * FRAME_SAMPLES :][: len(samples)] = 3000 * np.sin(samples * (0.05 + 0.01 * len(reply)))
        start_s, end_s = at * FRAME_S, (at + REPLY_FRAMES) * FRAME_S
        turns.append(Turn("tone", "", reply, start_s - 0.6, start_s - 0.2, start_s, end_s))
    user = random.normal(0, 2000, FRAMES * FRAME_SAMPLES).astype(np.int16)
    phones = np.zeros(FRAMES * PHONES_PER_FRAME, dtype=np.uint8)
    return SoundSession(user, moshi.astype(np.int16), phones, phones, (), tuple(turns), {})


def tokenised(session: SoundSession, mimi: Mimi) -> TokenSession:
    moshi, user = encode([session.moshi, session.user], mimi)
    phones = session.user_phones.reshape(FRAMES, PHONES_PER_FRAME)
    silent = np.zeros(FRAMES, dtype=np.bool_)
    text = np.full(FRAMES, 3, dtype=np.int16)
    return TokenSession(text, moshi, user, phones, silent, [asdict(turn) for turn in session.turns])


def write_calls(world: Path, tokenised_at: Path, calls: list[SoundSession]) -> None:
    config = MimiConfig.from_dict(small_config())
    mimi = Mimi.from_tensors(small_weights(), config, config.codebooks)
    for folder in (world, tokenised_at):
        folder.mkdir(parents=True)
    for number, session in enumerate(calls):
        save(session, path_of(world, number))
        tokens.save(tokenised(session, mimi), path_of(tokenised_at, number))
