"""Reading GGUF files as Moshi is published in them: names and shapes, float tensors, and Q8_0 (facts section 4.5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from models.layers.quantised import QuantisedMatrix, Stored
from models.loading.errors import MissingFileError, MissingTensorError
from models.loading.gguf_header import GgufEntry, read_gguf_header
from models.loading.header import Entry
from models.loading.tensors import check_finite

_BLOCK = 32
_Q8_0 = np.dtype([("scale", "<f2"), ("codes", "i1", (_BLOCK,))])


class GgufFile(Mapping[str, Stored]):
    """The tensors of one file by name: floats as they are, Q8_0 as quantised matrices. Memory-mapped."""

    def __init__(self, path: Path, on_read: Callable[[int], None] = lambda _bytes: None) -> None:
        """on_read: called with the size in bytes of a tensor when it is first asked for. Raises CheckpointError."""
        self.path = path
        self._on_read = on_read
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file")
        self._places = read_gguf_header(path)
        self.entries: Mapping[str, Entry] = {name: place.entry for name, place in self._places.items()}
        self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
        self._unread = set(self.entries)

    def __getitem__(self, name: str) -> Stored:
        """The tensor, on the CPU. Raises MissingTensorError, and CheckpointError for values that are not finite."""
        if name not in self._places:
            raise MissingTensorError(f"{self.path}: no tensor {name}")
        place = self._places[name]
        found = self._read(place)
        if name in self._unread:
            self._unread.remove(name)
            floats = found.scales if isinstance(found, QuantisedMatrix) else found
            check_finite(floats, f"{self.path}: tensor {name}")
            self._on_read(place.entry.nbytes)
        return found

    def _read(self, place: GgufEntry) -> Stored:
        data = self._bytes[place.begin : place.begin + place.entry.nbytes]
        shape = place.entry.shape
        match place.entry.stored_type:
            case "Q8_0":
                blocks = data.view(_Q8_0).reshape(math.prod(shape[:-1]), shape[-1] // _BLOCK)
                codes = torch.from_numpy(np.ascontiguousarray(blocks["codes"])).flatten(1)
                return QuantisedMatrix(codes, torch.from_numpy(np.ascontiguousarray(blocks["scale"])))
            case "F32":
                return torch.from_numpy(data.view("<f4").copy()).view(shape)
            case "F16":
                return torch.from_numpy(data.view("<f2").copy()).view(shape)
            case _:  # the header lets nothing else through
                return torch.from_numpy(data.copy()).view(torch.bfloat16).view(shape)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
