"""The LM from a checkpoint of any published layout."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from models.layers.quantised import QuantisedMatrix, Stored
from models.loading.assembling import Assembled
from models.loading.checkpoint import Checkpoint
from models.loading.containers import TensorFile, open_tensors
from models.loading.names import Renamed, recognise
from models.loading.opening import naming, opened
from models.moshi_lm import LmConfig, MoshiLm

_EARLY_EOS_ID, _PAD_ID = 2, 3


def load_lm(checkpoint: Checkpoint, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu") -> MoshiLm:
    """The LM in the given type, with a progress line on stderr. Raises CheckpointError."""
    with naming("config.json"):
        config = LmConfig.from_dict(checkpoint.lm_config)
    with opened(checkpoint.lm_weights, "the LM", open_tensors) as file:
        tensors = published_tensors(file, config)
        with _naming_stored(tensors):
            return MoshiLm.from_tensors(_as_spoken(tensors, checkpoint.model_type), config, dtype, device)


def published_tensors(file: TensorFile, config: LmConfig) -> Renamed:
    """The tensors of a file in any layout by their published PyTorch names. Raises ValueError naming the key."""
    names = recognise(file.path, file.entries)
    return Renamed(Assembled(file), names, config.depformer_weights_per_step_schedule)


@contextmanager
def _naming_stored(tensors: Renamed) -> Iterator[None]:
    """A model's errors begin with a published name; the file may have another for it."""
    try:
        yield
    except ValueError as error:
        name, colon, complaint = str(error).partition(": ")
        raise ValueError(f"{tensors.stored_name(name)}{colon}{complaint}") from error


def _as_spoken(tensors: Mapping[str, Stored], model_type: str) -> Mapping[str, Stored]:
    return _without_early_eos(tensors) if model_type == "hibiki" else tensors


def _without_early_eos(tensors: Mapping[str, Stored]) -> Mapping[str, Stored]:
    """Hibiki hears its own early end of sentence as padding (upstream's loader does the same)."""
    embedding = tensors["text_emb.weight"]
    if isinstance(embedding, QuantisedMatrix):
        parts = embedding.codes, embedding.scales, embedding.biases
        codes, scales, biases = (None if part is None else _row_copied(part) for part in parts)
        assert codes is not None and scales is not None  # only biases may be absent
        embedding = replace(embedding, codes=codes, scales=scales, biases=biases)
    else:
        embedding = _row_copied(embedding)
    changed: dict[str, Stored] = {"text_emb.weight": embedding}
    return ChainMap(changed, tensors)  # type: ignore[arg-type]  # the last map is only read


def _row_copied(rows: Tensor) -> Tensor:
    rows = rows.clone()
    rows[_EARLY_EOS_ID] = rows[_PAD_ID]
    return rows
