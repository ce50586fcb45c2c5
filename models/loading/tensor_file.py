"""File of tensors: each is read when it is asked for, with errors that say which file and which tensor."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised import QuantisedMatrix, Stored
from moshi_cluster.models.loading.errors import CheckpointError, MissingFileError, MissingTensorError
from moshi_cluster.models.loading.reading import read_bytes
from moshi_cluster.models.loading.safetensors_header import TensorEntry

Value = TypeVar("Value", bound=Stored, covariant=True)


class TensorFile(Mapping[str, Value]):
    """The tensors of one file by name, on the CPU."""

    def __init__(self, path: Path, on_read: Callable[[int], None] = lambda _bytes: None) -> None:
        """on_read: called with the size in bytes of a tensor when it is first asked for. Raises CheckpointError."""
        self.path = path
        self._on_read = on_read
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file")
        self.entries = self._read_header()
        self._unread = set(self.entries)

    @abstractmethod
    def _read_header(self) -> Mapping[str, TensorEntry]:
        """What the file says about its tensors. Raises CheckpointError."""

    @abstractmethod
    def _decoded(self, entry: TensorEntry, values: Tensor) -> Value:
        """A tensor from its bytes, uint8 [nbytes]."""

    def __getitem__(self, name: str) -> Value:
        """The tensor. Raises MissingTensorError, and CheckpointError for values that are not finite."""
        if name not in self.entries:
            raise MissingTensorError(f"{self.path}: no tensor {name}")
        entry = self.entries[name]
        found = self._decoded(entry, read_bytes(self.path, name, entry))
        if name in self._unread:
            self._unread.remove(name)
            floats = found.scales if isinstance(found, QuantisedMatrix) else found
            _check_finite(floats, f"{self.path}: tensor {name}")
            self._on_read(entry.nbytes)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def _check_finite(tensor: Tensor, where: str) -> None:
    """One NaN among the weights silences every caller: better refused. Raises CheckpointError."""
    if tensor.is_floating_point() and tensor.numel():
        # A sum costs one pass without copies, and is not finite if a term is not; float32 holds any sane sum.
        wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        if not math.isfinite(tensor.sum(dtype=wide).item()):
            raise CheckpointError(f"{where}: values that are not finite, or far too large")
