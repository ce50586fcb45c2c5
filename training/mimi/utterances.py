"""Training pieces for the decoder: codes, everything that came before them, and the sound they stand for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moshi_cluster.audio.frame import FRAME_SAMPLES, FRAMES_PER_S
from training import tokens
from training.tokens import TokenSession
from training.world import store

PAST_FRAMES = 18
"""Before the first frame with sound: more than the decoder's transformer sees in its first layer."""

LEAST_FRAMES = 26
"""Of every utterance, after its past."""
_TAIL_FRAMES = 4  # of silence, or of what follows, after the last word
_TIMES_EACH = 3  # a sentence is the same sound every time; its codes differ a little
_OPENINGS = 24
_CALLERS_EVERY = 3  # sessions


@dataclass(frozen=True)
class UtteranceBatch:
    """B pieces: P frames of codes alone, then F frames with sound. P is PAST_FRAMES, or 0 where calls begin."""

    codes: Tensor  # int64 [B, P + F, K]
    target: Tensor  # float32 [B, F * 1920]


@dataclass(frozen=True)
class Utterance:
    """One side of T frames of a call."""

    codes: NDArray[np.uint8]  # [K, T]
    pcm: NDArray[np.int16]  # [T * 1920]


@dataclass(frozen=True)
class FrameRange:
    """Frames of a call to take."""

    kind: str
    speaker: str
    first: int
    last: int  # one beyond


Collection = dict[str, list[Utterance]]
"""By kind: "moshi" and "user" begin PAST_FRAMES before something is said, "opening" with the call (Moshi greets)."""


class Utterances:
    """Draws pieces of what Moshi says, and of what callers say beside it."""

    def __init__(self, collection: Collection, seed: int) -> None:
        """Raises ValueError when a kind is empty."""
        if empty := [kind for kind, found in collection.items() if not found]:
            raise ValueError(f"no utterances of kind {', '.join(empty)}")
        self._collection = collection
        self._random = np.random.default_rng(seed)

    def draw(self, count: int, frames: int, moshi_share: float) -> UtteranceBatch:
        """frames: with sound, up to LEAST_FRAMES."""
        pieces = []
        for _ in range(count):
            found = self._collection["moshi" if self._random.random() < moshi_share else "user"]
            whole = found[self._random.integers(len(found))]
            latest = whole.codes.shape[1] - PAST_FRAMES - frames
            pieces.append(_piece(whole, int(self._random.integers(latest + 1)), PAST_FRAMES, frames))
        return _batch(pieces)

    def draw_openings(self, count: int, frames: int) -> UtteranceBatch:
        """The first frames of calls, which have no past; frames: up to LEAST_FRAMES."""
        found = self._collection["opening"]
        return _batch([_piece(found[self._random.integers(len(found))], 0, 0, frames) for _ in range(count)])


def collect(world: Path, tokenised: Path) -> Collection:
    """From the sessions of `tokenised`, whose sound is in `world`: every sentence of Moshi's a few times."""
    collection: Collection = {"moshi": [], "user": [], "opening": []}
    times: Counter[str] = Counter()
    for number, path in enumerate(tokens.stored(tokenised)):
        session = tokens.load(path)
        spans = list(_chosen(session, times, number))
        if not spans:
            continue
        sound = store.load(world / path.name)
        for span in spans:
            codes = getattr(session, span.speaker)[:, span.first : span.last]
            pcm = getattr(sound, span.speaker)[span.first * FRAME_SAMPLES : span.last * FRAME_SAMPLES]
            collection[span.kind].append(Utterance(codes.copy(), pcm.copy()))
    return collection


def _chosen(session: TokenSession, times: Counter[str], number: int) -> Iterator[FrameRange]:
    """times: how often each sentence was taken before; counts up. number: of the session."""
    length = len(session.text)
    if number < _OPENINGS and length >= LEAST_FRAMES:
        yield FrameRange("opening", "moshi", 0, LEAST_FRAMES)
    for turn in session.turns:
        text = turn["reply_text"]
        span = _span("moshi", turn["reply_start_s"], turn["reply_end_s"], length)
        if span and times[text] < _TIMES_EACH:
            times[text] += 1
            yield span
    if number % _CALLERS_EVERY == 0 and session.turns:
        turn = session.turns[len(session.turns) // 2]
        if span := _span("user", turn["user_start_s"], turn["user_end_s"], length):
            yield span


def _span(speaker: str, start_s: float, end_s: float, length: int) -> FrameRange | None:
    """None where the call is too short for it."""
    first = max(0, math.floor(start_s * FRAMES_PER_S) - 1 - PAST_FRAMES)
    least = first + PAST_FRAMES + LEAST_FRAMES
    last = min(length, max(math.ceil(end_s * FRAMES_PER_S) + _TAIL_FRAMES, least))
    return FrameRange(speaker, speaker, first, last) if last >= least else None


def _piece(whole: Utterance, first: int, past: int, frames: int) -> tuple[Tensor, Tensor]:
    codes = whole.codes[:, first : first + past + frames]
    sound = slice((first + past) * FRAME_SAMPLES, (first + past + frames) * FRAME_SAMPLES)
    target = whole.pcm[sound].astype(np.float32) / 32768
    return torch.from_numpy(codes.T.astype(np.int64)), torch.from_numpy(target)


def _batch(pieces: Sequence[tuple[Tensor, Tensor]]) -> UtteranceBatch:
    codes, target = zip(*pieces, strict=True)
    return UtteranceBatch(torch.stack(codes), torch.stack(target))
