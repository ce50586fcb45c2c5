"""Building of an LM from names and shapes alone: whether it would be served, told without reading its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised import Stored
from moshi_cluster.models.loading.checkpoint import Checkpoint
from moshi_cluster.models.loading.containers import open_tensors
from moshi_cluster.models.loading.errors import CheckpointError
from moshi_cluster.models.loading.lm import LmOptions, complete, naming_stored
from moshi_cluster.models.loading.names import PublishedTensors, inspect_names
from moshi_cluster.models.loading.opening import naming
from moshi_cluster.models.loading.quantised_layouts import StoredTensors
from moshi_cluster.models.loading.safetensors_file import SafetensorsFile
from moshi_cluster.models.loading.served import served_config
from moshi_cluster.models.moshi_lm import MoshiLm

_NOWHERE = torch.device("meta")


def why_not_served(checkpoint: Checkpoint) -> str | None:
    """What `load_lm` would say, but for values that are not finite and copies that differ; None if nothing."""
    try:
        config = served_config(checkpoint)
        assert checkpoint.lm_weights is not None  # who asks has it
        with naming(checkpoint.lm_weights):
            file = open_tensors(checkpoint.lm_weights)
            names = inspect_names(file.path, file.entries)
            stored = PublishedTensors(_Shapes(StoredTensors(file)), names, config.stored_schedule)
            tensors, adapter = complete(stored, file.path, config, checkpoint, LmOptions(), _shapes_of)
            with naming_stored(stored):
                MoshiLm.from_tensors(tensors, config, torch.bfloat16, _NOWHERE, None, adapter)
    except CheckpointError as error:
        return str(error)
    return None


def _shapes_of(path: Path) -> dict[str, Tensor]:
    return {name: _empty(entry.shape) for name, entry in SafetensorsFile(path).entries.items()}


class _Shapes(Mapping[str, Stored]):
    """Tensors without values, quantised ones as the dense ones that they stand for."""

    def __init__(self, stored: StoredTensors) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> Tensor:
        return _empty(self._stored.layout(name).shape)

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def _empty(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, device=_NOWHERE)
