"""Loading of Mimi from a checkpoint."""

from __future__ import annotations

import torch

from moshi_cluster.models.loading.checkpoint import Checkpoint
from moshi_cluster.models.loading.opening import naming, opened
from moshi_cluster.models.loading.safetensors_file import SafetensorsFile
from moshi_cluster.models.mimi import Mimi, MimiConfig


def load_mimi(checkpoint: Checkpoint, device: torch.device | str = "cpu") -> Mimi:
    """The codec, always float32, with a progress line on stderr. Raises CheckpointError."""
    with naming("mimi_config"):
        config = MimiConfig() if checkpoint.mimi_config is None else MimiConfig.from_dict(checkpoint.mimi_config)
    with opened(checkpoint.mimi_weights, "Mimi", SafetensorsFile) as tensors:
        return Mimi.from_tensors(tensors, config, checkpoint.codebooks, device)
