"""Memory of a session of the LM, and how many sessions fit."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from moshi_cluster.models.moshi_lm.config import LmConfig
from moshi_cluster.models.moshi_lm.kv_buffer import vector_bytes

_MB = 1_000_000


@dataclass(frozen=True)
class SlotSize:
    """Keys and values of one session's window."""

    layers: int
    heads: int
    head_dim: int
    context: int  # frames
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return 2 * self.layers * self.heads * self.context * vector_bytes(self.head_dim, self.dtype)

    def __str__(self) -> str:
        kind = "8 bits" if self.dtype == torch.int8 else str(self.dtype).removeprefix("torch.")
        vector = vector_bytes(self.head_dim, self.dtype)
        return (
            f"{self.nbytes / _MB:.4g} MB (keys and values of {self.layers} layers x {self.heads} heads x "
            f"{self.context} frames x {vector} bytes, {kind})"
        )


def slot_size(config: LmConfig, context: int | None, dtype: torch.dtype) -> SlotSize:
    """context: frames attended to, if fewer than the configuration's; dtype: of keys and values, int8 for 8 bits."""
    frames = min(context or config.context, config.context)
    return SlotSize(config.num_layers, config.num_heads, config.dim // config.num_heads, frames, dtype)


@dataclass(frozen=True)
class Fit:
    """How many sessions free memory holds, with the arithmetic."""

    free_bytes: int
    share: float  # of the free memory that slots may take; the rest is for activations and for others
    slot: SlotSize

    @property
    def slots(self) -> int:
        return int(self.free_bytes * self.share) // self.slot.nbytes

    def __str__(self) -> str:
        return f"{self.slots} slots fit: {self.free_bytes / _MB:.0f} MB free x {self.share:g} / {self.slot} each"
