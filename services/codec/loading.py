"""Codec loading: from settings to a Mimi that runs."""

from __future__ import annotations

import torch

from moshi_cluster.models.accelerator import prepare_thread
from moshi_cluster.models.loading import Checkpoint, FileNames, Part, resolve
from moshi_cluster.models.loading.mimi import load_mimi
from moshi_cluster.services.codec.engine import programs
from moshi_cluster.services.codec.fitting import choose_slots
from moshi_cluster.services.codec.server import CodecModel
from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.common.worker.cuda_stats import device_look
from moshi_cluster.services.common.worker.program import CPU_GATHER_MS, gather_s

# The first hop of a call makes the groups in which frames come to the hops behind it, so it waits longest.
_CPU_ENCODE_GATHER_MS = 18.0


def find(settings: CodecSettings) -> Checkpoint:
    """Finds, and downloads if need be, Mimi's files. Raises CheckpointError."""
    files = FileNames(config=settings.config, mimi=settings.mimi_weights, mimi_config=settings.mimi_config)
    return resolve(settings.hf_repo or settings.checkpoint, files, Part.MIMI)


def load(settings: CodecSettings) -> CodecModel:
    """Finds, downloads if need be, and loads Mimi. Raises CheckpointError and NoRoomError."""
    torch.set_num_threads(settings.threads)
    prepare_thread(settings.device)
    checkpoint = find(settings)
    mimi = load_mimi(checkpoint, settings.device)
    return CodecModel(
        programs=programs(
            mimi,
            choose_slots(settings, mimi.config),
            settings.largest_batch,
            gather_s(settings.encode_gather_ms, settings.device, _CPU_ENCODE_GATHER_MS),
            gather_s(settings.decode_gather_ms, settings.device, CPU_GATHER_MS),
            settings.uses_static_step,
        ),
        fingerprint=checkpoint.fingerprint,
        frame_samples=mimi.config.frame_samples,
        codebooks=mimi.codebooks,
        bins=mimi.config.bins,
        device=device_look(settings.device),
    )
