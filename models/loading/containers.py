"""Detection of tensor files, safetensors or GGUF, by their first bytes and never by their name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from moshi_cluster.models.layers.quantised import Stored
from moshi_cluster.models.loading import gguf_header
from moshi_cluster.models.loading.errors import CheckpointError, MissingFileError
from moshi_cluster.models.loading.gguf import GgufFile
from moshi_cluster.models.loading.safetensors_file import SafetensorsFile
from moshi_cluster.models.loading.tensor_file import TensorFile

# First bytes of what people have by mistake.
_PICKLE = "a pickle: opening it could run any code, so it never is; save the tensors as safetensors"
_REFUSED = (
    (b"PK\x03\x04", _PICKLE),
    (b"\x80\x02", _PICKLE),
    (b"\x80\x03", _PICKLE),
    (b"\x80\x04", _PICKLE),
    (b"\x80\x05", _PICKLE),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"<", "a web page, not weights: was the download refused?"),
    (b"\x89HDF", "an HDF5 file, not safetensors or GGUF"),
    (b"tjgg", "a GGML file older than GGUF"),
)


def open_tensors(path: Path, on_read: Callable[[int], None] = lambda _bytes: None) -> TensorFile[Stored]:
    """The tensors of a safetensors or GGUF file. Raises CheckpointError."""
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    with path.open("rb") as file:
        beginning = file.read(24)
    for magic, what in _REFUSED:
        # A safetensors file begins with the length of its header, then "{".
        if beginning.startswith(magic) and beginning[8:9] != b"{":
            raise CheckpointError(f"{path}: {what}")
    return (GgufFile if beginning.startswith(gguf_header.MAGIC) else SafetensorsFile)(path, on_read)
