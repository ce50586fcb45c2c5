"""Reading safetensors files, with errors that say which file and which tensor."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.loading.errors import CheckpointError, MissingFileError, MissingTensorError

_LENGTH_BYTES = 8


class SafetensorsFile(Mapping[str, Tensor]):
    """The tensors of one file by name. Memory-mapped: a tensor is read from disk when its values are used."""

    def __init__(self, path: Path, on_read: Callable[[int], None] = lambda _bytes: None) -> None:
        """on_read: called with the size in bytes of a tensor when it is first asked for. Raises CheckpointError."""
        self.path = path
        self._on_read = on_read
        _check_whole(path)
        try:
            self._file = safe_open(path, framework="pt", device="cpu")
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: not a safetensors file ({error})") from error
        self._names = dict.fromkeys(self._file.keys())
        self._unread = set(self._names)

    def __getitem__(self, name: str) -> Tensor:
        """The tensor, on the CPU, in its stored shape and type. Raises MissingTensorError."""
        if name not in self._names:
            raise MissingTensorError(f"{self.path}: no tensor {name}")
        try:
            tensor: Tensor = self._file.get_tensor(name)
        except (SafetensorError, TypeError) as error:
            raise CheckpointError(f"{self.path}: tensor {name} cannot be read ({error})") from error
        if name in self._unread:
            self._unread.remove(name)
            self._on_read(tensor.nbytes)
        return tensor

    def stored_type(self, name: str) -> str:
        """The type as the file spells it, for example "BF16"; reads no values. Raises MissingTensorError."""
        if name not in self._names:
            raise MissingTensorError(f"{self.path}: no tensor {name}")
        return str(self._file.get_slice(name).get_dtype())

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _check_whole(path: Path) -> None:
    """The commonest accident, a download that stopped half-way, deserves words of its own."""
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    size_bytes = path.stat().st_size
    promised_bytes = _promised_bytes(path, size_bytes)
    if size_bytes < promised_bytes:
        raise CheckpointError(f"{path}: truncated, {size_bytes} of {promised_bytes} bytes are there")


def _promised_bytes(path: Path, size_bytes: int) -> int:
    """The size that the header describes: its length, 8 bytes; the header, JSON; the data, up to the last offset."""
    with path.open("rb") as file:
        data_start = _LENGTH_BYTES + int.from_bytes(file.read(_LENGTH_BYTES), "little")
        beginning = file.read(1)
        if beginning not in (b"{", b""):
            raise CheckpointError(f"{path}: not a safetensors file")
        if data_start > size_bytes:
            return data_start
        header = beginning + file.read(data_start - _LENGTH_BYTES - 1)
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, its header is unreadable") from error
    return int(data_start + max(ends, default=0))
