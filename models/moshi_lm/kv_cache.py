"""KV cache of the Temporal Transformer: keys and values of the last `capacity` frames of every session."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moshi_cluster.models.layers.placement import on_cpu
from moshi_cluster.models.moshi_lm.attention import CacheAttention, ChunkInOneCall, ExactChunk, StepAttention
from moshi_cluster.models.moshi_lm.kv_buffer import kv_buffer


class KvCache:
    """Per layer two KV buffers [slots, heads, capacity, head_dim]; frame p of a session lies at place p mod capacity.

    Writing frame p drops frame p - capacity, which no later frame may see, so a full slot needs no mask.
    """

    def __init__(
        self,
        layers: int,
        slots: int,
        heads: int,
        head_dim: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        """dtype: a floating type, or torch.int8 for 8 bits with a scale per vector."""
        self.slots = slots
        self.capacity = capacity
        self._device = torch.device(device)
        shape = (slots, heads, capacity, head_dim)
        self._keys = [kv_buffer(shape, dtype, device) for _ in range(layers)]
        self._values = [kv_buffer(shape, dtype, device) for _ in range(layers)]

    @property
    def keys(self) -> list[Tensor]:
        """What is stored, layer by layer; slots first."""
        return [tensor for layer in self._keys for tensor in layer.tensors]

    @property
    def values(self) -> list[Tensor]:
        """What is stored, layer by layer; slots first."""
        return [tensor for layer in self._values for tensor in layer.tensors]

    def clear(self, slot: int) -> None:
        """Zeroes a slot: what a session left behind, NaN included, would reach the next one through masked places."""
        for tensor in (*self.keys, *self.values):
            tensor[slot].zero_()

    def step(self, slots: Sequence[int], positions: Sequence[int]) -> CacheAttention:
        """One frame of each of several sessions: position p of each row's slot."""
        return StepAttention(self._keys, self._values, slots, positions, self._device)

    def chunk(self, slot: int, start: int, rows: int) -> CacheAttention:
        """Consecutive frames of one session. On CPU bit for bit what as many steps give, elsewhere in one call."""
        if on_cpu(self._device):
            return ExactChunk(self._keys, self._values, slot, start, rows, self._device)
        return self.chunk_in_one_call(slot, start, rows)

    def chunk_in_one_call(self, slot: int, start: int, rows: int) -> CacheAttention:
        """`chunk` with sums in another order, fast where a call costs more than its arithmetic."""
        return ChunkInOneCall(self._keys, self._values, slot, start, rows, self._device)
