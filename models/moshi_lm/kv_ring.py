"""The Temporal Transformer's memory: keys and values of the last `capacity` frames of every session."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from models.moshi_lm.attention import Attention, ChunkInOneCall, RowByRow, StepAttention


class KvRing:
    """Per layer two tensors [slots, heads, capacity, head_dim]; frame p of a session lies at place p mod capacity.

    Writing frame p drops frame p - capacity, which no later frame may see, so a full ring needs no mask.
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
        self.slots = slots
        self.capacity = capacity
        shape = (slots, heads, capacity, head_dim)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]

    def clear(self, slot: int) -> None:
        """Zeroes a slot: what a session left behind, NaN included, would reach the next one through masked places."""
        for layer in (*self.keys, *self.values):
            layer[slot].zero_()

    def step(self, slots: Sequence[int], positions: Sequence[int]) -> Attention:
        """One frame of each of several sessions: position p of each row's slot."""
        return StepAttention(self.keys, self.values, slots, positions)

    def chunk(self, slot: int, start: int, rows: int) -> Attention:
        """Consecutive frames of one session. On CPU bit for bit what as many steps give, elsewhere in one call."""
        exact = self.keys[0].device.type == "cpu"
        return (RowByRow if exact else ChunkInOneCall)(self.keys, self.values, slot, start, rows)
