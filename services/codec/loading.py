"""From settings to a codec that runs."""

from __future__ import annotations

import torch

from models.loading import FileNames, Part, resolve
from models.loading.mimi import load_mimi
from services.codec.engine import programs
from services.codec.server import CodecModel
from services.codec.settings import CodecSettings


def load(settings: CodecSettings) -> CodecModel:
    """Finds, downloads if need be, and loads Mimi. Raises CheckpointError."""
    torch.set_num_threads(settings.threads)
    files = FileNames(config=settings.config, mimi=settings.mimi_weights, mimi_config=settings.mimi_config)
    checkpoint = resolve(settings.hf_repo or settings.checkpoint, files, Part.MIMI)
    mimi = load_mimi(checkpoint, settings.device)
    return CodecModel(
        programs=programs(mimi, settings.slots, settings.max_batch),
        fingerprint=checkpoint.fingerprint,
        frame_samples=mimi.config.frame_samples,
        codebooks=mimi.codebooks,
        bins=mimi.config.bins,
    )
