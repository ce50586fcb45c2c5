"""KV buffer: keys or values of one layer for all slots, in floats or in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from moshi_cluster.models.kernels.int8_vectors import int8_codes

Rows = tuple[int, int] | Tensor  # neighbouring slots, first and count, or int64 [N]


class KvBuffer(Protocol):
    """[slots, heads, capacity, head_dim]."""

    @property
    def capacity(self) -> int:
        """Places of a slot."""

    @property
    def tensors(self) -> Sequence[Tensor]:
        """What is stored, slots first: what is zeroed when a session ends."""

    def write(self, slots: Tensor, places: Tensor, x: Tensor) -> None:
        """x: [N, heads, head_dim], each row to its slot's place."""

    def read(self, slots: Rows, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """The first `length` places: [N, heads, length, head_dim], times scales float32 [N, heads, length] if any."""


class PlainKvBuffer:
    """In a floating type."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device | str) -> None:
        self.capacity = shape[2]
        self._dtype = dtype
        self._values = torch.zeros(shape, dtype=dtype, device=device)
        self.tensors = (self._values,)

    def write(self, slots: Tensor, places: Tensor, x: Tensor) -> None:
        self._values[slots, :, places] = x if x.dtype == self._dtype else x.to(self._dtype)

    def read(self, slots: Rows, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        rows = _rows(self._values[:, :, :length], slots)
        return (rows if dtype == self._dtype else rows.to(dtype)), None


class Int8KvBuffer:
    """In 8 bits with a scale per vector: the largest magnitude becomes 127."""

    def __init__(self, shape: tuple[int, int, int, int], device: torch.device | str) -> None:
        self.capacity = shape[2]
        self._codes = torch.zeros(shape, dtype=torch.int8, device=device)
        self._scales = torch.zeros(shape[:3], device=device)
        self.tensors = (self._codes, self._scales)

    def write(self, slots: Tensor, places: Tensor, x: Tensor) -> None:
        self._codes[slots, :, places], self._scales[slots, :, places] = int8_codes(x)

    def read(self, slots: Rows, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        return _rows(self._codes[:, :, :length], slots).to(dtype), _rows(self._scales[:, :, :length], slots)


def kv_buffer(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device | str) -> KvBuffer:
    """dtype: a floating type, or torch.int8."""
    return Int8KvBuffer(shape, device) if dtype == torch.int8 else PlainKvBuffer(shape, dtype, device)


def vector_bytes(head_dim: int, dtype: torch.dtype) -> int:
    """Bytes that one key or value of one head takes."""
    return head_dim + torch.float32.itemsize if dtype == torch.int8 else head_dim * dtype.itemsize


def _rows(stored: Tensor, slots: Rows) -> Tensor:
    """Neighbouring slots are read where they lie, others are gathered first."""
    return stored.narrow(0, *slots) if isinstance(slots, tuple) else stored.index_select(0, slots)
