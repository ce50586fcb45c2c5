"""Offline evaluation of recorded callers: the product's models, without cluster and clock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from moshi_cluster.audio.resample import Resampler
from moshi_cluster.clients.cli.g711 import decode_ulaw
from moshi_cluster.cluster.recorded_callers import Recording
from moshi_cluster.models.loading import resolve
from moshi_cluster.models.loading.mimi import load_mimi
from training.evaluate.judge import Call
from training.evaluate.offline import hold
from training.evaluate.sound import SAMPLE_RATE_HZ
from training.tokens import encode
from training.world.line import TELEPHONE_RATE_HZ

_STREAMS = 32
_LEVELS = np.array(decode_ulaw(bytes(range(256))), dtype=np.float32)


def hold_offline(checkpoint: Path, recordings: Sequence[Recording]) -> list[Call]:
    """As `training.evaluate.calling.hold`, without what lies between callers and models."""
    found = resolve(str(checkpoint))
    mimi = load_mimi(found)
    sounds = [_wide(recording) for recording in recordings]
    codes = [
        torch.from_numpy(codes.astype(np.int64).T.copy())
        for start in range(0, len(sounds), _STREAMS)
        for codes in encode(sounds[start : start + _STREAMS], mimi)
    ]
    return hold(found, [recording.turns for recording in recordings], codes)


def _wide(recording: Recording) -> NDArray[np.float32]:
    """At the codec's rate, the very samples that the gateway makes: whatever differs then is the cluster's doing."""
    levels = _LEVELS[np.frombuffer(recording.mu_law, np.uint8)]
    return Resampler(TELEPHONE_RATE_HZ, SAMPLE_RATE_HZ).push(levels)
