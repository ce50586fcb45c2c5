"""Offline evaluation of recorded callers: the product's models, without cluster and clock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.g711 import G711_RATE_HZ, decode_mulaw
from moshi_cluster.audio.resample import Resampler
from moshi_cluster.cluster.recorded_callers import RecordedCaller
from moshi_cluster.models.loading import resolve
from moshi_cluster.models.loading.mimi import load_mimi
from training.evaluate.judge import HeldCall
from training.evaluate.offline import hold
from training.tokens import encode

_STREAMS = 32
_FULL_SCALE = np.float32(32768)  # of what `training.tokens.encode` takes


def hold_offline(checkpoint: Path, recordings: Sequence[RecordedCaller]) -> list[HeldCall]:
    """Holds the calls as `training.evaluate.calling.hold` does, without what lies between callers and models."""
    found = resolve(str(checkpoint))
    mimi = load_mimi(found)
    sounds = [_wide(recording) for recording in recordings]
    codes = [
        torch.from_numpy(codes.astype(np.int64).T.copy())
        for start in range(0, len(sounds), _STREAMS)
        for codes in encode(sounds[start : start + _STREAMS], mimi)
    ]
    return hold(found, [recording.turns for recording in recordings], codes)


def _wide(recording: RecordedCaller) -> NDArray[np.float32]:
    """At the codec's rate, the very samples that the gateway makes: whatever differs then is the cluster's doing."""
    return _FULL_SCALE * Resampler(G711_RATE_HZ, MODEL_RATE_HZ).push(decode_mulaw(recording.mu_law))
