"""Codes and scales that lie side by side in a file, put together to quantised matrices (facts sections 4.3 and 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from models.layers.quantised import QuantisedMatrix, Stored
from models.loading.containers import TensorFile
from models.loading.errors import CheckpointError, MissingTensorError

_FLOATS = frozenset({"F64", "F32", "F16", "BF16", "Q8_0"})
_MLX_WIDTH = "out_norm.weight"  # as wide as the model: tells how many bits a packed word's values have
_MLX_SAMPLE = "text_emb"


class Assembled(Mapping[str, Stored]):
    """The tensors of a file under the file's own names, quantised ones as one matrix under the name of their codes."""

    def __init__(self, file: TensorFile) -> None:
        """Raises CheckpointError for integers without scales: they mean nothing without."""
        self._readers: dict[str, Callable[[], Stored]] = {}
        companions: set[str] = set()
        mlx: _MlxReader | None = None
        for name, entry in file.entries.items():
            stem = name.removesuffix(".weight")
            if entry.stored_type == "I8" and f"{name}_scb" in file.entries:
                companions.add(f"{name}_scb")
                self._readers[name] = _RowReader(file, name)
            elif entry.stored_type == "U32" and f"{stem}.scales" in file.entries:
                mlx = mlx or _MlxReader(file)
                companions |= {f"{stem}.scales", f"{stem}.biases"}
                self._readers[name] = mlx.of(stem)
            elif entry.stored_type in _FLOATS:
                self._readers[name] = _Reader(file, name)
            else:
                raise CheckpointError(f"{file.path}: {name} is {entry.stored_type} and has no scales")
        for name in companions:
            self._readers.pop(name, None)

    def __getitem__(self, name: str) -> Stored:
        return self._readers[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


class _Reader:
    def __init__(self, file: TensorFile, name: str) -> None:
        self._file, self._name = file, name

    def __call__(self) -> Stored:
        return self._file[self._name]


class _RowReader:
    """PyTorch int8: W = codes * scb / 127, where scb is the largest magnitude of the row."""

    def __init__(self, file: TensorFile, name: str) -> None:
        self._file, self._name = file, name

    def __call__(self) -> QuantisedMatrix:
        codes, largest = _tensor(self._file, self._name), _tensor(self._file, f"{self._name}_scb")
        if largest.dim() != 1:
            raise CheckpointError(f"{self._file.path}: {self._name}_scb: expected one scale per row")
        return _matrix(self._file, self._name, codes, largest.float()[:, None] / 127, None, 8)


class _MlxReader:
    """MLX: words of 32 bits hold 4 or 8 codes, the lowest bits first; W = scale * code + bias."""

    def __init__(self, file: TensorFile) -> None:
        self._file = file
        try:
            width = file.entries[_MLX_WIDTH].shape[-1]
            words = file.entries[f"{_MLX_SAMPLE}.weight"].shape[-1]
        except (KeyError, IndexError) as error:
            raise CheckpointError(f"{file.path}: {_MLX_WIDTH} or {_MLX_SAMPLE}.weight is missing") from error
        self.bits = words * 32 // width if width else 0
        if self.bits not in (4, 8) or words * 32 != self.bits * width:
            raise CheckpointError(
                f"{file.path}: {_MLX_SAMPLE}.weight: {words} words for {width} values are neither 4 nor 8 bits each"
            )

    def of(self, stem: str) -> Callable[[], QuantisedMatrix]:
        def read() -> QuantisedMatrix:
            words = _tensor(self._file, f"{stem}.weight")
            scales, biases = _tensor(self._file, f"{stem}.scales"), _tensor(self._file, f"{stem}.biases")
            return _matrix(self._file, stem, words.view(torch.uint8), scales, biases, self.bits)

        return read


def _tensor(file: TensorFile, name: str) -> Tensor:
    try:
        found = file[name]
    except MissingTensorError as error:
        raise CheckpointError(f"{file.path}: {name}: missing from the checkpoint") from error
    if not isinstance(found, Tensor) or found.dim() == 0:
        raise CheckpointError(f"{file.path}: {name}: expected an array")
    return found


def _matrix(
    file: TensorFile, name: str, codes: Tensor, scales: Tensor, biases: Tensor | None, bits: int
) -> QuantisedMatrix:
    try:
        return QuantisedMatrix(codes, scales, biases, bits)
    except ValueError as error:
        raise CheckpointError(f"{file.path}: {name}: {error}") from error
