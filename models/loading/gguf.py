"""Reading GGUF files as Moshi is published in them: names and shapes, float tensors, and Q8_0 (facts section 4.5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised import QuantisedMatrix, Stored
from moshi_cluster.models.loading.errors import MissingFileError, MissingTensorError
from moshi_cluster.models.loading.gguf_header import read_gguf_header
from moshi_cluster.models.loading.reading import read_bytes
from moshi_cluster.models.loading.safetensors_header import Entry
from moshi_cluster.models.loading.tensors import check_finite

_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_BLOCK = 32
_Q8_0 = np.dtype([("scale", "<f2"), ("codes", "i1", (_BLOCK,))])


class GgufFile(Mapping[str, Stored]):
    """The tensors of one file by name: floats as they are, Q8_0 as quantised matrices. Each is read when asked for."""

    def __init__(self, path: Path, on_read: Callable[[int], None] = lambda _bytes: None) -> None:
        """on_read: called with the size in bytes of a tensor when it is first asked for. Raises CheckpointError."""
        self.path = path
        self._on_read = on_read
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file")
        self.entries: Mapping[str, Entry] = read_gguf_header(path)
        self._unread = set(self.entries)

    def __getitem__(self, name: str) -> Stored:
        """The tensor, on the CPU. Raises MissingTensorError, and CheckpointError for values that are not finite."""
        if name not in self.entries:
            raise MissingTensorError(f"{self.path}: no tensor {name}")
        entry = self.entries[name]
        found = _decoded(entry, read_bytes(self.path, name, entry))
        if name in self._unread:
            self._unread.remove(name)
            floats = found.scales if isinstance(found, QuantisedMatrix) else found
            check_finite(floats, f"{self.path}: tensor {name}")
            self._on_read(entry.nbytes)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def _decoded(entry: Entry, values: Tensor) -> Stored:
    """values: uint8 [nbytes]."""
    match entry.stored_type:
        case "Q8_0":
            blocks = values.numpy().view(_Q8_0).reshape(math.prod(entry.shape[:-1]), entry.shape[-1] // _BLOCK)
            codes = torch.from_numpy(np.ascontiguousarray(blocks["codes"])).flatten(1)
            return QuantisedMatrix(codes, torch.from_numpy(np.ascontiguousarray(blocks["scale"])))
        case stored_type:  # the header lets nothing else through
            return values.view(_FLOATS[stored_type]).view(entry.shape)
