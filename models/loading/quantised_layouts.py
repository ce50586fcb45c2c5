"""Quantised layouts: codes and scales side by side in a file become matrices (docs/model.md 4.3, 4.4)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised import QuantisedMatrix, Stored
from moshi_cluster.models.loading.errors import CheckpointError, MissingTensorError
from moshi_cluster.models.loading.tensor_file import TensorFile

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_GGUF_GROUP = 32
_MLX_WIDTH = "out_norm.weight"  # as wide as the model: tells how many bits a packed word's values have
_MLX_SAMPLE = "text_emb.weight"


@dataclass(frozen=True)
class TensorLayout:
    """How a tensor is held, told without reading it."""

    shape: tuple[int, ...]  # of the values, however they are packed
    nbytes: int  # in the file, scales included
    bits: int = 0  # of a code; 0 for floats
    group: int = 0  # columns that share a scale; 0 for all of the row

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)

    @property
    def kind(self) -> str:
        """For people; empty for floats."""
        if not self.bits:
            return ""
        return f"{self.bits} bits " + (f"in groups of {self.group}" if self.group else "per row")


class StoredTensors(Mapping[str, Stored]):
    """The tensors of a file under the file's own names, quantised ones as one matrix under the name of their codes."""

    def __init__(self, file: TensorFile[Stored]) -> None:
        """Raises CheckpointError for integers without scales: they mean nothing without."""
        self._readers: dict[str, _TensorReader] = {}
        companions: set[str] = set()
        mlx_bits = 0
        for name, entry in file.entries.items():
            stem = name.removesuffix(".weight")
            if entry.stored_type == "I8" and f"{name}_scb" in file.entries:
                companions.add(f"{name}_scb")
                self._readers[name] = _Int8Reader(file, name)
            elif entry.stored_type == "U32" and f"{stem}.scales" in file.entries:
                mlx_bits = mlx_bits or _mlx_bits(file)
                companions |= {f"{stem}.scales", f"{stem}.biases"}
                self._readers[name] = _MlxReader(file, name, mlx_bits)
            elif entry.stored_type in _FLOATS:
                self._readers[name] = _TensorReader(file, name)
            elif entry.stored_type == "Q8_0":
                self._readers[name] = _GgufReader(file, name)
            else:
                raise CheckpointError(f"{file.path}: {name} is {entry.stored_type} and has no scales")
        for name in companions:
            self._readers.pop(name, None)

    def layout(self, name: str) -> TensorLayout:
        """How the tensor is held. Raises KeyError."""
        return self._readers[name].layout()

    def __getitem__(self, name: str) -> Stored:
        return self._readers[name].read()

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


class _TensorReader:
    """A tensor as the file has it."""

    def __init__(self, file: TensorFile[Stored], name: str) -> None:
        self._file, self._name = file, name

    def layout(self) -> TensorLayout:
        entry = self._file.entries[self._name]
        return TensorLayout(entry.shape, entry.nbytes)

    def read(self) -> Stored:
        return self._file[self._name]

    def _part(self, name: str) -> Tensor:
        try:
            found = self._file[name]
        except MissingTensorError as error:
            raise CheckpointError(f"{self._file.path}: {name}: missing from the checkpoint") from error
        if not isinstance(found, Tensor) or found.dim() == 0:
            raise CheckpointError(f"{self._file.path}: {name}: expected an array")
        return found

    def _bytes_of(self, *names: str) -> int:
        return sum(self._file.entries[name].nbytes for name in names if name in self._file.entries)

    def _matrix(self, codes: Tensor, scales: Tensor, biases: Tensor | None, bits: int) -> QuantisedMatrix:
        try:
            return QuantisedMatrix(codes, scales, biases, bits)
        except ValueError as error:
            raise CheckpointError(f"{self._file.path}: {self._name}: {error}") from error


class _GgufReader(_TensorReader):
    """GGUF's Q8_0, which the file itself puts together."""

    def layout(self) -> TensorLayout:
        entry = self._file.entries[self._name]
        return TensorLayout(entry.shape, entry.nbytes, 8, _GGUF_GROUP)


class _Int8Reader(_TensorReader):
    """PyTorch int8: W = codes * scb / 127, where scb is the largest magnitude of the row."""

    def layout(self) -> TensorLayout:
        shape = self._file.entries[self._name].shape
        return TensorLayout(shape, self._bytes_of(self._name, f"{self._name}_scb"), 8)

    def read(self) -> QuantisedMatrix:
        codes, largest = self._part(self._name), self._part(f"{self._name}_scb")
        if largest.dim() != 1:
            raise CheckpointError(f"{self._file.path}: {self._name}_scb: expected one scale per row")
        return self._matrix(codes, largest.float()[:, None] / 127, None, 8)


class _MlxReader(_TensorReader):
    """MLX: words of 32 bits hold 4 or 8 codes, the lowest bits first; W = scale * code + bias."""

    def __init__(self, file: TensorFile[Stored], name: str, bits: int) -> None:
        super().__init__(file, name)
        self._bits = bits
        stem = name.removesuffix(".weight")
        self._scales, self._biases = f"{stem}.scales", f"{stem}.biases"

    def layout(self) -> TensorLayout:
        *rows, words = self._file.entries[self._name].shape or (0,)
        columns, groups = words * 32 // self._bits, (self._file.entries[self._scales].shape or (1,))[-1]
        nbytes = self._bytes_of(self._name, self._scales, self._biases)
        return TensorLayout((*rows, columns), nbytes, self._bits, columns // max(groups, 1))

    def read(self) -> QuantisedMatrix:
        codes = self._part(self._name).view(torch.uint8)
        return self._matrix(codes, self._part(self._scales), self._part(self._biases), self._bits)


def _mlx_bits(file: TensorFile[Stored]) -> int:
    """Bits of a code, the same in the whole file. Raises CheckpointError for what is neither 4 nor 8."""
    try:
        width, words = (file.entries[name].shape[-1] for name in (_MLX_WIDTH, _MLX_SAMPLE))
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"{file.path}: {_MLX_WIDTH} or {_MLX_SAMPLE} is missing") from error
    bits = words * 32 // width if width else 0
    if bits not in (4, 8) or words * 32 != bits * width:
        raise CheckpointError(
            f"{file.path}: {_MLX_SAMPLE}: {words} words for {width} values, neither 4 nor 8 bits each"
        )
    return bits
