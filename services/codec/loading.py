"""From settings to a codec that runs."""

from __future__ import annotations

import torch

from models.loading import FileNames, Part, resolve
from models.loading.mimi import load_mimi
from services.codec.engine import programs
from services.codec.server import CodecModel
from services.codec.settings import CodecSettings

_CPU_ENCODE_INTERVAL_MS = 20.0


def load(settings: CodecSettings) -> CodecModel:
    """Finds, downloads if need be, and loads Mimi. Raises CheckpointError."""
    torch.set_num_threads(settings.threads)
    files = FileNames(config=settings.config, mimi=settings.mimi_weights, mimi_config=settings.mimi_config)
    checkpoint = resolve(settings.hf_repo or settings.checkpoint, files, Part.MIMI)
    mimi = load_mimi(checkpoint, settings.device)
    return CodecModel(
        programs=programs(mimi, settings.slots, settings.max_batch, _encode_interval_s(settings)),
        fingerprint=checkpoint.fingerprint,
        frame_samples=mimi.config.frame_samples,
        codebooks=mimi.codebooks,
        bins=mimi.config.bins,
    )


def _encode_interval_s(settings: CodecSettings) -> float:
    if settings.encode_interval_ms is not None:
        return settings.encode_interval_ms / 1000
    return _CPU_ENCODE_INTERVAL_MS / 1000 if torch.device(settings.device).type == "cpu" else 0.0
