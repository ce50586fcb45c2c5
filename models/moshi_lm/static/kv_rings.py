"""KV rings of the static step: read where they lie, with spare places for several rows of one session at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moshi_cluster.models.kernels.ring_attention import ring_attention, turn_and_write

SPARE_PLACES = 72
"""Beyond the context; with Moshi's 3000 a ring has 3072 places, six splits of the attention kernel."""


@dataclass(frozen=True)
class KvRing:
    """Keys and values of one layer: [slots, heads, places, head_dim], of 8 bits with scales [slots, heads, places]."""

    keys: Tensor
    values: Tensor
    key_scales: Tensor | None = None
    value_scales: Tensor | None = None

    @property
    def tensors(self) -> list[Tensor]:
        """Everything that is stored."""
        return [x for x in (self.keys, self.values, self.key_scales, self.value_scales) if x is not None]


def kv_rings(
    layers: int, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device | str
) -> list[KvRing]:
    """Empty rings, one per layer. shape: [slots, heads, places, head_dim]; dtype: a floating type, or torch.int8."""
    return [_kv_ring(shape, dtype, device) for _ in range(layers)]


def _kv_ring(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device | str) -> KvRing:
    keys, values = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
    if dtype != torch.int8:
        return KvRing(keys, values)
    key_scales, value_scales = (torch.zeros(shape[:3], device=device) for _ in range(2))
    return KvRing(keys, values, key_scales, value_scales)


class RowAttention:
    """Attention of the rows of one step, each at its own position of its own slot."""

    def __init__(self, rings: list[KvRing], context: int, slots: Tensor, positions: Tensor) -> None:
        """slots, positions: int64 [R]; -1 is the position of a row that is nobody's."""
        self._rings, self._context = rings, context
        self._slots, self._positions = slots, positions

    def __call__(self, layer: int, qkv: Tensor, rotations: Tensor) -> Tensor:
        q = self._write(layer, qkv, rotations)
        return ring_attention(q, *self._stored(layer), self._slots, self._positions, self._context)

    def remember(self, layer: int, qkv: Tensor, rotations: Tensor) -> None:
        self._write(layer, qkv, rotations)

    def _write(self, layer: int, qkv: Tensor, rotations: Tensor) -> Tensor:
        return turn_and_write(qkv, rotations, self._slots, self._positions, *self._stored(layer))

    def _stored(self, layer: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        ring = self._rings[layer]
        return ring.keys, ring.values, ring.key_scales, ring.value_scales
