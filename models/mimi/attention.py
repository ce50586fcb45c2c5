"""Causal attention over a whole clip, and over rings of keys and values for sessions that run frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from models.layers.rope import Rope
from models.mimi.config import MimiConfig

_QUERIES_PER_BLOCK = 512
_MASKED = float("-inf")


class Attend(Protocol):
    """How new positions look at the past."""

    rotation: Tensor
    """complex64 [N * T, 1, head_width / 2]: the rotary embedding of the new positions."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v: [N, T, heads, head_width], q and k rotated -> [N, T, heads, head_width]."""


class ClipAttention:
    """A clip in one call: position q sees q - context < p <= q."""

    def __init__(self, config: MimiConfig, clips: int, positions: int, device: torch.device) -> None:
        self._context = config.context
        rope = Rope(config.head_width, config.max_period, device)
        self.rotation = rope.turns(torch.arange(positions, device=device).repeat(clips))

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        starts = range(0, q.shape[2], _QUERIES_PER_BLOCK)
        return torch.cat([self._block(q, k, v, start) for start in starts], dim=2).transpose(1, 2)

    def _block(self, q: Tensor, k: Tensor, v: Tensor, start: int) -> Tensor:
        """The queries of one block against the keys that any of them sees."""
        stop = min(start + _QUERIES_PER_BLOCK, q.shape[2])
        first = max(0, start - self._context + 1)
        query = torch.arange(start, stop, device=q.device)[:, None]
        key = torch.arange(first, stop, device=q.device)
        visible = (key <= query) & (key > query - self._context)
        return F.scaled_dot_product_attention(
            q[:, :, start:stop], k[:, :, first:stop], v[:, :, first:stop], attn_mask=visible
        )


class KeyValueRings:
    """The last `context` keys and values of every slot and layer.

    As upstream, a frame first writes its T positions and then looks: at context entries, the newest T included, so
    the first of them sees T - 1 keys fewer than its context (facts section 1.6).
    """

    def __init__(self, config: MimiConfig, slots: int, device: torch.device) -> None:
        self.config = config
        shape = (config.layers, slots, config.heads, config.context, config.head_width)
        self.keys = torch.zeros(shape, device=device)
        self.values = torch.zeros(shape, device=device)
        self.rope = Rope(config.head_width, config.max_period, device)
        self._masks = self._first_lap_and_later().to(device)

    def reset(self, slot: int) -> None:
        """Forgets a slot. Zeros, because a masked NaN would still be one: 0 * NaN."""
        self.keys[:, slot] = 0
        self.values[:, slot] = 0

    def frame(self, slots: Sequence[int], starts: Sequence[int]) -> Attend:
        """Attention for one frame of the given slots, whose first new position is `starts`."""
        kind = SlotBySlotAttention if self.keys.device.type == "cpu" else MaskedAttention
        return kind(self, slots, starts)

    def masks(self, starts: Sequence[int]) -> Tensor:
        """[N, 1, T, context]: minus infinity at entries that a position of the frame must not see."""
        context = self.config.context
        laps = [start if start < context else context + start % context for start in starts]
        return self._masks.index_select(0, torch.tensor(laps, device=self._masks.device))

    def _first_lap_and_later(self) -> Tensor:
        """[2 * context, 1, T, context]: for a frame at ring index i, in row i while the ring fills, then context + i."""
        context, new = self.config.context, self.config.positions_per_frame
        future = torch.zeros(context, 1, new, context)
        for index in range(context):
            for query in range(new):
                future[index, 0, query, [(index + later) % context for later in range(query + 1, new)]] = _MASKED
        entry = torch.arange(context)
        unwritten = entry >= entry[:, None] + new
        return torch.cat((future.masked_fill(unwritten[:, None, None], _MASKED), future))


class _RingAttention:
    """Where the new positions of one frame lie in the rings, for all layers alike."""

    def __init__(self, rings: KeyValueRings, slots: Sequence[int], starts: Sequence[int]) -> None:
        config, device = rings.config, rings.keys.device
        self._rings, self._slots = rings, slots
        self._masks = rings.masks(starts)
        new = range(config.positions_per_frame)
        positions = torch.tensor([start + later for start in starts for later in new], device=device)
        self.rotation = rings.rope.turns(positions)
        heads = [range(slot * config.heads, (slot + 1) * config.heads) for slot in slots for _ in new]
        entries = (positions % config.context)[:, None] + config.context * torch.tensor(heads, device=device)
        self._entries = entries.flatten()  # [N * T * heads], rows of the rings seen as one table

    def _write(self, layer: int, k: Tensor, v: Tensor) -> None:
        width = k.shape[-1]
        for ring, new in ((self._rings.keys, k), (self._rings.values, v)):
            ring[layer].view(-1, width).index_copy_(0, self._entries, new.reshape(-1, width))


class SlotBySlotAttention(_RingAttention):
    """Reads each slot's ring in place: fastest on CPU, where copies cost most.

    Two products and a softmax take a sixth less time there than torch's fused kernel, for few queries and many keys.
    """

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self._write(layer, k, v)
        keys, values = self._rings.keys[layer].mT, self._rings.values[layer]
        N, T, heads, width = q.shape
        scores = q.new_empty(N, heads, T, keys.shape[-1])
        for row, slot, query in zip(scores, self._slots, q.transpose(1, 2), strict=True):
            torch.bmm(query, keys[slot], out=row)
        weights = torch.softmax(torch.add(self._masks, scores, alpha=width**-0.5, out=scores), dim=-1)
        seen = q.new_empty(N, heads, T, width)
        for row, slot, weight in zip(seen, self._slots, weights, strict=True):
            torch.bmm(weight, values[slot], out=row)
        return seen.transpose(1, 2)


class MaskedAttention(_RingAttention):
    """All slots in one call over whole rings: few launches, for accelerators."""

    def __init__(self, rings: KeyValueRings, slots: Sequence[int], starts: Sequence[int]) -> None:
        super().__init__(rings, slots, starts)
        self._rows = torch.tensor(slots, device=rings.keys.device)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self._write(layer, k, v)
        keys, values = self._rings.keys[layer][self._rows], self._rings.values[layer][self._rows]
        seen = F.scaled_dot_product_attention(q.transpose(1, 2), keys, values, attn_mask=self._masks)
        return seen.transpose(1, 2)
