"""GGUF header parser (versions 2 and 3, little endian): checks everything before anything is allocated."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from moshi_cluster.models.loading.errors import CheckpointError
from moshi_cluster.models.loading.safetensors_header import TensorEntry

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_TENSORS = 1 << 14  # published files stay below 1300
_MOST_NAME_BYTES = 256
_MOST_DIMENSIONS = 4
_MOST_SIZE = 1 << 40
_MOST_METADATA = 1 << 14
_MOST_NESTING = 2
_ALIGNMENT_KEY = b"general.alignment"
_ALIGNMENT = 32
# ggml's type number -> name, values per block, bytes per block
_TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 8: ("Q8_0", 32, 34), 30: ("BF16", 1, 2)}
# Metadata type number -> bytes; 8 is a string, 9 an array.
_VALUE_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _STRING, _ARRAY = 4, 8, 9


def read_gguf_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of a GGUF file by name. Raises CheckpointError naming the tensor that cannot be."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        reader = _HeaderReader(file, path, size_bytes)
        if reader.take(4) != MAGIC:
            raise CheckpointError(f"{path}: not a GGUF file")
        version = reader.number("<I")
        if version not in _VERSIONS:
            raise CheckpointError(f"{path}: GGUF version {version}, expected 2 or 3, little endian")
        tensors, values = reader.number("<Q"), reader.number("<Q")
        if tensors > _MOST_TENSORS or values > _MOST_METADATA:
            raise CheckpointError(f"{path}: {tensors} tensors and {values} values, expected {_MOST_TENSORS} at most")
        alignment = _read_metadata(reader, values)
        found: dict[str, TensorEntry] = {}
        for _ in range(tensors):
            name, place = _read_entry(reader)
            if name in found:
                raise CheckpointError(f"{path}: tensor {name} is there twice")
            found[name] = place
        data_start = -(-file.tell() // alignment) * alignment
    for name, place in found.items():
        end = data_start + place.begin + place.nbytes
        if end > size_bytes:
            raise CheckpointError(f"{path}: truncated, tensor {name} ends at byte {end} of {size_bytes}")
    return {name: replace(entry, begin=data_start + entry.begin) for name, entry in found.items()}


def _read_entry(reader: _HeaderReader) -> tuple[str, TensorEntry]:
    name = reader.string(_MOST_NAME_BYTES).decode("utf-8", "replace")
    dimensions = reader.number("<I")
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise CheckpointError(f"{reader.path}: tensor {name}: {dimensions} dimensions")
    shape = tuple(reader.number("<Q") for _ in range(dimensions))[::-1]  # stored innermost first
    type_number, begin = reader.number("<I"), reader.number("<Q")
    if not all(1 <= size <= _MOST_SIZE for size in shape):
        raise CheckpointError(f"{reader.path}: tensor {name}: impossible shape {list(shape)}")
    if type_number not in _TYPES:
        known = ", ".join(type_name for type_name, _, _ in _TYPES.values())
        raise CheckpointError(f"{reader.path}: tensor {name}: ggml type {type_number} is not supported, only {known}")
    type_name, values, block_bytes = _TYPES[type_number]
    if shape[-1] % values or (values > 1 and dimensions != 2):
        raise CheckpointError(f"{reader.path}: tensor {name}: {type_name} of shape {list(shape)}")
    return name, TensorEntry(type_name, shape, math.prod(shape) // values * block_bytes, begin)


def _read_metadata(reader: _HeaderReader, values: int) -> int:
    """Skips it, for Moshi's files have none that matter; returns the alignment of tensors."""
    alignment = _ALIGNMENT
    for _ in range(values):
        key, type_number = reader.string(_MOST_NAME_BYTES), reader.number("<I")
        if key == _ALIGNMENT_KEY and type_number == _UINT32:
            alignment = reader.number("<I")
            if not 1 <= alignment <= 1 << 20:
                raise CheckpointError(f"{reader.path}: general.alignment is {alignment}")
        else:
            _skip_value(reader, type_number, 0)
    return alignment


def _skip_value(reader: _HeaderReader, type_number: int, depth: int) -> None:
    if type_number == _STRING:
        reader.skip(reader.number("<Q"))
    elif type_number == _ARRAY and depth < _MOST_NESTING:
        item_type, items = reader.number("<I"), reader.number("<Q")
        if item_type in _VALUE_BYTES:
            reader.skip(items * _VALUE_BYTES[item_type])
            return
        for _ in range(items):  # each takes bytes of the file, so this ends
            _skip_value(reader, item_type, depth + 1)
    elif type_number in _VALUE_BYTES:
        reader.skip(_VALUE_BYTES[type_number])
    else:
        raise CheckpointError(f"{reader.path}: metadata of unknown type {type_number}")


class _HeaderReader:
    """Takes numbers and strings off a file, never beyond its end."""

    def __init__(self, file: BinaryIO, path: Path, size_bytes: int) -> None:
        self._file = file
        self._left = size_bytes
        self.path = path

    def take(self, count: int) -> bytes:
        self._leave(count)
        return self._file.read(count)

    def skip(self, count: int) -> None:
        self._leave(count)
        self._file.seek(count, 1)

    def number(self, layout: str) -> int:
        return int(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])

    def string(self, most_bytes: int) -> bytes:
        length = self.number("<Q")
        if length > most_bytes:
            raise CheckpointError(f"{self.path}: a name of {length} bytes, at most {most_bytes}")
        return self.take(length)

    def _leave(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise CheckpointError(f"{self.path}: truncated, the header ends after the file")
