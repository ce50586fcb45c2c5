"""The LM from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.loading.checkpoint import Checkpoint
from models.loading.errors import CheckpointError
from models.loading.opening import naming, opened
from models.loading.tensors import SafetensorsFile
from models.moshi_lm import LmConfig, MoshiLm

_FLOATING = frozenset({"F64", "F32", "F16", "BF16"})
_EARLY_EOS_ID, _PAD_ID = 2, 3


def load_lm(checkpoint: Checkpoint, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu") -> MoshiLm:
    """The LM in the given type, with a progress line on stderr. Raises CheckpointError."""
    with naming("config.json"):
        config = LmConfig.from_dict(checkpoint.lm_config)
    with opened(checkpoint.lm_weights, "the LM") as file:
        _refuse_quantised(file)
        tensors = _without_early_eos(file) if checkpoint.model_type == "hibiki" else file
        return MoshiLm.from_tensors(tensors, config, dtype, device)


def _refuse_quantised(file: SafetensorsFile) -> None:
    """Integer weights mean nothing without their scales: better refused than played as noise."""
    for name in file:
        stored_type = file.stored_type(name)
        if stored_type not in _FLOATING:
            raise CheckpointError(f"{file.path}: {name} is {stored_type}: quantised checkpoints are not supported")


def _without_early_eos(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Hibiki hears its own early end of sentence as padding (upstream's loader does the same)."""
    embedding = tensors["text_emb.weight"].clone()
    embedding[_EARLY_EOS_ID] = embedding[_PAD_ID]
    return {**tensors, "text_emb.weight": embedding}
