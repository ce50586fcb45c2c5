"""safetensors header parser: checks everything before anything is allocated or mapped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moshi_cluster.models.loading.errors import CheckpointError
from moshi_cluster.models.loading.strict_json import parse_json

_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 1 << 20  # published files stay below 200 kB
_MOST_NAME = 256
_METADATA = "__metadata__"
_ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True)
class TensorEntry:
    """What a file says about one tensor."""

    stored_type: str  # as the file spells it: "BF16", "Q8_0"
    shape: tuple[int, ...]
    nbytes: int
    begin: int  # first byte in the file


def read_safetensors_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file by name.

    Raises CheckpointError for a file that is shorter or longer than its header says, and for an entry that cannot be:
    tensors lie one after the other without gaps, and each is as long as its shape and type need.
    """
    size_bytes = path.stat().st_size
    text, data_start = _header_text(path, size_bytes)
    try:
        pairs = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, its header is unreadable ({_brief(error)})") from error
    if not isinstance(pairs, dict):
        raise CheckpointError(f"{path}: not a safetensors file, its header is no object")
    entries = {name: _entry(path, name, entry, data_start) for name, entry in pairs.items() if name != _METADATA}
    _check_whole(path, entries, data_start, size_bytes)
    return entries


def _header_text(path: Path, size_bytes: int) -> tuple[bytes, int]:
    """The JSON, and where the data start."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        beginning = file.read(1)
        if beginning not in (b"{", b""):
            raise CheckpointError(f"{path}: not a safetensors file")
        data_start = _LENGTH_BYTES + header_bytes
        if beginning and header_bytes > _MOST_HEADER_BYTES:
            raise CheckpointError(f"{path}: its header would have {header_bytes} bytes, at most {_MOST_HEADER_BYTES}")
        if data_start > size_bytes or size_bytes < _LENGTH_BYTES:
            raise CheckpointError(f"{path}: truncated, {size_bytes} of {data_start} bytes are there")
        return beginning + file.read(header_bytes - 1), data_start


def _entry(path: Path, name: str, entry: object, data_start: int) -> TensorEntry:
    if len(name) > _MOST_NAME:
        raise CheckpointError(f"{path}: tensor {name[:60]}...: a name of {len(name)} characters")
    if not isinstance(entry, dict) or not entry.keys() >= {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{path}: not a safetensors file, tensor {name} has no type, shape and offsets")
    stored_type, shape, offsets = (entry[key] for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(stored_type, str) or stored_type not in _ITEM_BYTES:
        raise CheckpointError(f"{path}: tensor {name}: unknown type {stored_type!r:.40}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(f"{path}: tensor {name}: no shape and offsets: {shape!r:.60}, {offsets!r:.60}")
    nbytes = offsets[1] - offsets[0]
    if math.prod(shape) * _ITEM_BYTES[stored_type] != nbytes:
        raise CheckpointError(f"{path}: tensor {name}: {stored_type} {shape!r:.60} does not take {nbytes} bytes")
    return TensorEntry(stored_type, tuple(shape), nbytes, data_start + offsets[0])


def _check_whole(path: Path, entries: Mapping[str, TensorEntry], data_start: int, size_bytes: int) -> None:
    end = data_start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].nbytes)):
        if entry.begin != end:
            raise CheckpointError(
                f"{path}: tensor {name}: begins at byte {entry.begin - data_start} of the data, "
                f"expected {end - data_start}"
            )
        end += entry.nbytes
    if end > size_bytes:  # the commonest accident, a download that stopped half-way
        data_bytes = size_bytes - data_start
        raise CheckpointError(f"{path}: truncated, {data_bytes} of {end - data_start} bytes of tensors are there")
    if end < size_bytes:
        raise CheckpointError(f"{path}: {size_bytes - end} bytes after the last tensor")


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and len(values) <= 8 and all(type(v) is int and 0 <= v < 1 << 48 for v in values)


def _brief(error: Exception) -> str:
    return f"{error}"[:200]
