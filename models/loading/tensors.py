"""Reading safetensors files, with errors that say which file and which tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from moshi_cluster.models.loading.errors import CheckpointError, MissingFileError, MissingTensorError
from moshi_cluster.models.loading.reading import read_bytes
from moshi_cluster.models.loading.safetensors_header import Entry, read_header

_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class SafetensorsFile(Mapping[str, Tensor]):
    """The tensors of one file by name, each read when it is asked for."""

    def __init__(self, path: Path, on_read: Callable[[int], None] = lambda _bytes: None) -> None:
        """on_read: called with the size in bytes of a tensor when it is first asked for. Raises CheckpointError."""
        self.path = path
        self._on_read = on_read
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file")
        self.entries: Mapping[str, Entry] = read_header(path)
        self._unread = set(self.entries)

    def __getitem__(self, name: str) -> Tensor:
        """The tensor, on the CPU, in its stored shape and type.

        Raises MissingTensorError, and CheckpointError for values that are not finite.
        """
        if name not in self.entries:
            raise MissingTensorError(f"{self.path}: no tensor {name}")
        entry = self.entries[name]
        tensor = read_bytes(self.path, name, entry).view(_TYPES[entry.stored_type]).view(entry.shape)
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
