"""Quantised matrix: integer codes with a scale, and perhaps a bias, for every group of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class QuantisedMatrix:
    """W[n, k] = scales[n, k // group] * codes[n, k] + biases[n, k // group], for N rows and K columns.

    One form for every published layout: a group as wide as the row is a scale per row. Raises ValueError for parts
    that do not belong together.
    """

    codes: Tensor  # int8 or uint8 [N, K]; of 4 bits uint8 [N, K / 2], even columns in the low 4 bits of each byte
    scales: Tensor  # floating [N, K / group]
    biases: Tensor | None = None  # floating [N, K / group]; None is zero
    bits: int = 8

    def __post_init__(self) -> None:
        if self.bits not in (4, 8) or self.codes.dtype not in (torch.int8, torch.uint8) or self.codes.dim() != 2:
            raise ValueError(f"expected codes of 4 or 8 bits, found {self.bits} bits as {_described(self.codes)}")
        for name, part in (("scales", self.scales), ("biases", self.biases)):
            if part is None:
                continue
            if not part.is_floating_point() or part.dim() != 2 or part.shape[0] != self.codes.shape[0]:
                raise ValueError(f"{name}: expected floats [{self.codes.shape[0]}, groups], found {_described(part)}")
        groups = self.scales.shape[1]
        if not groups or self.columns % groups:
            raise ValueError(f"scales: {groups} groups do not divide {self.columns} columns")
        if self.biases is not None and self.biases.shape != self.scales.shape:
            raise ValueError(f"biases: expected {list(self.scales.shape)}, found {list(self.biases.shape)}")

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """Codes, scales and, if there are any, biases."""
        return (self.codes, self.scales) if self.biases is None else (self.codes, self.scales, self.biases)

    @property
    def columns(self) -> int:
        return self.codes.shape[1] * 8 // self.bits

    @property
    def shape(self) -> tuple[int, int]:
        """[N, K] of the matrix, however its codes are packed."""
        return self.codes.shape[0], self.columns

    @property
    def group(self) -> int:
        """Columns that share a scale."""
        return self.columns // self.scales.shape[1]

    @property
    def device(self) -> torch.device:
        return self.codes.device

    @property
    def kind(self) -> str:
        """For people: "8 bits per row", "4 bits in groups of 32"."""
        per_row = self.group == self.columns and self.biases is None
        return f"{self.bits} bits " + ("per row" if per_row else f"in groups of {self.group}")

    @property
    def nbytes(self) -> int:
        biases = 0 if self.biases is None else self.biases.nbytes
        return self.codes.nbytes + self.scales.nbytes + biases

    def __getitem__(self, rows: slice | Tensor) -> QuantisedMatrix:
        """Some of the rows: a slice of them, or those with the ids int64 [...] (flattened)."""
        rows = rows.flatten() if isinstance(rows, Tensor) else rows
        biases = None if self.biases is None else self.biases[rows]
        return replace(self, codes=self.codes[rows], scales=self.scales[rows], biases=biases)

    def zero_row(self) -> QuantisedMatrix:
        """One more row of this kind, all zeros."""
        scales = torch.zeros_like(self.scales[:1])
        biases = None if self.biases is None else torch.zeros_like(self.biases[:1])
        return replace(self, codes=torch.zeros_like(self.codes[:1]), scales=scales, biases=biases)

    def to(self, device: torch.device | str) -> QuantisedMatrix:
        """A copy on a device."""
        biases = None if self.biases is None else self.biases.to(device, copy=True)
        return replace(
            self, codes=self.codes.to(device, copy=True), scales=self.scales.to(device, copy=True), biases=biases
        )

    def integers(self) -> Tensor:
        """The codes one by one, int8 or uint8 [N, K]."""
        if self.bits == 8:
            return self.codes
        nibbles = self.codes & 15, self.codes >> 4
        return torch.stack(nibbles, dim=-1).flatten(1)

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """W itself, computed in float32: [N, K]."""
        groups = self.integers().unflatten(1, (-1, self.group))
        wide: Tensor = groups.float().mul_(self.scales.float()[..., None])
        if self.biases is not None:
            wide += self.biases.float()[..., None]
        return wide.flatten(1).to(dtype)

    def same_kind(self, other: QuantisedMatrix) -> bool:
        """Whether the rows of both can stand in one matrix."""
        return (
            (self.bits, self.columns, self.codes.dtype) == (other.bits, other.columns, other.codes.dtype)
            and self.scales.shape[1] == other.scales.shape[1]
            and (self.biases is None) == (other.biases is None)
        )


Stored = Tensor | QuantisedMatrix
"""A matrix of a checkpoint, as its file holds it."""


def stacked(matrices: Sequence[QuantisedMatrix]) -> QuantisedMatrix:
    """The rows of all, which are of one kind, in one matrix."""
    biases = [matrix.biases for matrix in matrices if matrix.biases is not None]
    return QuantisedMatrix(
        torch.cat([matrix.codes for matrix in matrices]),
        torch.cat([matrix.scales for matrix in matrices]),
        torch.cat(biases) if biases else None,
        matrices[0].bits,
    )


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
