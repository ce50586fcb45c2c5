"""Reading safetensors files, with errors that say which file and which tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.loading.errors import CheckpointError, MissingFileError, MissingTensorError
from models.loading.header import Entry, read_header


class SafetensorsFile(Mapping[str, Tensor]):
    """The tensors of one file by name. Memory-mapped: a tensor is read from disk when its values are used."""

    def __init__(self, path: Path, on_read: Callable[[int], None] = lambda _bytes: None) -> None:
        """on_read: called with the size in bytes of a tensor when it is first asked for. Raises CheckpointError."""
        self.path = path
        self._on_read = on_read
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file")
        self.entries: Mapping[str, Entry] = read_header(path)
        try:
            self._file = safe_open(path, framework="pt", device="cpu")
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: not a safetensors file ({error})") from error
        self._unread = set(self.entries)

    def __getitem__(self, name: str) -> Tensor:
        """The tensor, on the CPU, in its stored shape and type.

        Raises MissingTensorError, and CheckpointError for values that are not finite.
        """
        if name not in self.entries:
            raise MissingTensorError(f"{self.path}: no tensor {name}")
        try:
            tensor: Tensor = self._file.get_tensor(name)
        except (SafetensorError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{self.path}: tensor {name} cannot be read ({error})") from error
        if name in self._unread:
            self._unread.remove(name)
            check_finite(tensor, f"{self.path}: tensor {name}")
            self._on_read(tensor.nbytes)
        return tensor

    def stored_type(self, name: str) -> str:
        """The type as the file spells it, for example "BF16"; reads no values. Raises MissingTensorError."""
        if name not in self.entries:
            raise MissingTensorError(f"{self.path}: no tensor {name}")
        return self.entries[name].stored_type

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def check_finite(tensor: Tensor, where: str) -> None:
    """One NaN among the weights silences every caller: better refused. Raises CheckpointError."""
    if tensor.is_floating_point() and tensor.numel():
        # A sum costs one pass without copies, and is not finite if a term is not; float32 holds any sane sum.
        wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        if not math.isfinite(tensor.sum(dtype=wide).item()):
            raise CheckpointError(f"{where}: values that are not finite, or far too large")
