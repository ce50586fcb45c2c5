"""Training crops: short pieces of calls, cut where frames begin, as a running codec would meet them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moshi_cluster.audio.frame import FRAME_SAMPLES
from training.world.phones import PHONES_PER_FRAME
from training.world.store import load, stored

Samples = NDArray[np.float32]

LABEL_DELAY = 2
"""Phone labels of a frame begin this many (of 20 ms) before it: a causal encoder has not heard the end of a phone that
has only begun."""

_POOL_SESSIONS = 48
_CROPS_PER_SESSION = 24
_AUDIBLE = 3e-3  # root mean square of a frame
_SPEECH_SHARE = 0.4
_QUIET_CROPS = 0.12  # share of the draws that may be of silence or noise alone
_GAIN_DB = 6.0
_NOISY_CROPS = 0.3
_NOISE_DB = (-50.0, -28.0)


@dataclass(frozen=True)
class Crops:
    """B pieces of T frames."""

    heard: Tensor  # float32 [B, T * 1920], what the encoder gets
    target: Tensor  # the same shape, what should come back
    phones: Tensor  # int64 [B, T, 4], numbers in PHONES


@dataclass(frozen=True)
class _CropChannel:
    pcm: NDArray[np.int16]
    phones: NDArray[np.uint8]
    audible: NDArray[np.bool_]  # per frame


class CropSource:
    """Draws crops from a changing pool of sessions, so that no more than the pool is in memory."""

    def __init__(self, folder: Path, frames: int, seed: int) -> None:
        """folder: of stored sessions, which may still grow. Raises ValueError when there is none."""
        self._folder, self._frames = folder, frames
        self._random = np.random.default_rng(seed)
        self._pool: deque[dict[str, _CropChannel]] = deque(maxlen=_POOL_SESSIONS)
        self._queue: list[Path] = []
        self._drawn = 0

    def draw(self, crops: int, moshi_share: float) -> Crops:
        """moshi_share: of the crops; the rest are callers."""
        self._refill(crops)
        cut = [self._crop("moshi" if self._random.random() < moshi_share else "user") for _ in range(crops)]
        heard, target, phones = (np.stack(parts) for parts in zip(*cut, strict=True))
        return Crops(*(torch.from_numpy(part) for part in (heard, target, phones.astype(np.int64))))

    def _refill(self, crops: int) -> None:
        self._drawn += crops
        while len(self._pool) < _POOL_SESSIONS or self._drawn >= _CROPS_PER_SESSION:
            self._pool.append(self._next_session())
            self._drawn = max(0, self._drawn - _CROPS_PER_SESSION)

    def _next_session(self) -> dict[str, _CropChannel]:
        if not self._queue:
            self._queue = stored(self._folder)
            if not self._queue:
                raise ValueError(f"no sessions in {self._folder}")
            self._random.shuffle(self._queue)
        session = load(self._queue.pop())
        return {
            "user": _channel(session.user, session.user_phones),
            "moshi": _channel(session.moshi, session.moshi_phones),
        }

    def _crop(self, name: str) -> tuple[Samples, Samples, NDArray[np.uint8]]:
        while True:
            channel = self._pool[self._random.integers(len(self._pool))][name]
            start = int(self._random.integers(len(channel.audible) - self._frames))
            share = channel.audible[start : start + self._frames].mean()
            if share >= _SPEECH_SHARE or self._random.random() < _QUIET_CROPS:
                break
        samples = slice(start * FRAME_SAMPLES, (start + self._frames) * FRAME_SAMPLES)
        target: Samples = channel.pcm[samples] * np.float32(1 / 32768)
        labels = start * PHONES_PER_FRAME + np.arange(self._frames * PHONES_PER_FRAME) - LABEL_DELAY
        phones: NDArray[np.uint8] = channel.phones[labels.clip(min=0)].reshape(self._frames, PHONES_PER_FRAME)
        if name == "moshi":
            return target, target, phones
        target *= np.float32(10 ** (self._random.uniform(-_GAIN_DB, _GAIN_DB) / 20))
        return self._with_noise(target), target, phones

    def _with_noise(self, pcm: Samples) -> Samples:
        """Some crops with noise that is not to come back: codes then say more about speech and less about noise."""
        if self._random.random() >= _NOISY_CROPS:
            return pcm
        level = np.float32(10 ** (self._random.uniform(*_NOISE_DB) / 20))
        noisy: Samples = pcm + level * self._random.standard_normal(pcm.shape, dtype=np.float32)
        return noisy


def _channel(pcm: NDArray[np.int16], phones: NDArray[np.uint8]) -> _CropChannel:
    frames = pcm.reshape(-1, FRAME_SAMPLES).astype(np.float32) / 32768
    return _CropChannel(pcm, phones, np.sqrt(np.square(frames).mean(axis=1)) > _AUDIBLE)
