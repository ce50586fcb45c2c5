"""Recorded speech that goes through the codec here: the callers of this repository, one after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from moshi_cluster.audio import g711
from moshi_cluster.audio.frame import FRAME_SAMPLES, MODEL_RATE_HZ
from moshi_cluster.audio.spectral_resample import resample_recording
from moshi_cluster.cluster import recorded_callers


def speech_frames() -> Tensor:
    """float32 [T, 1920]: every recorded caller, a telephone's sound at the model's rate."""
    mu_law = b"".join(caller.mu_law for caller in recorded_callers.read())
    sound = resample_recording(g711.decode_mulaw(mu_law), MODEL_RATE_HZ / g711.G711_RATE_HZ)
    return torch.from_numpy(sound[: sound.size - sound.size % FRAME_SAMPLES]).view(-1, FRAME_SAMPLES)
