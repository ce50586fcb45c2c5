"""Reading of one tensor's bytes from a file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from moshi_cluster.models.loading.errors import CheckpointError
from moshi_cluster.models.loading.safetensors_header import TensorEntry


def read_bytes(path: Path, name: str, entry: TensorEntry) -> Tensor:
    """uint8 [nbytes], memory of its own. Raises CheckpointError.

    Read, not mapped: pages of a mapping would count as this process's memory until the last tensor is dropped, and a
    file that somebody cuts short meanwhile would end the process.
    """
    values = torch.empty(entry.nbytes, dtype=torch.uint8)
    try:
        with path.open("rb") as file:
            file.seek(entry.begin)
            read = file.readinto(values.numpy().data)
    except OSError as error:
        raise CheckpointError(f"{path}: tensor {name} cannot be read ({error})") from error
    if read != entry.nbytes:
        raise CheckpointError(f"{path}: tensor {name}: the file was cut short while it was read")
    return values
