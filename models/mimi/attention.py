"""Causal attention of Mimi's Transformers, over a whole clip or over rings of keys and values (docs/model.md 1.7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.layers.placement import on_cpu
from moshi_cluster.models.layers.rope import Rope
from moshi_cluster.models.mimi.config import MimiConfig

_QUERIES_PER_BLOCK = 512
_MASKED = float("-inf")
_LINE = 16  # floats of the cache


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
        self.rotation = rope.rotations(torch.arange(positions, device=device).repeat(clips))

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


class MimiKvCache:
    """The last `context` keys and values of every slot and layer.

    As upstream, a frame first writes its T positions and then looks: at context entries, the newest T included, so
    the first of them sees T - 1 keys fewer than its context (docs/model.md 1.7).
    """

    def __init__(self, config: MimiConfig, slots: int, device: torch.device) -> None:
        self.config = config
        # A few entries that are never written or seen fill the last line of the cache, so that all slots begin alike.
        self.entries = -(-config.context // _LINE) * _LINE
        shape = (config.layers, slots, config.heads, self.entries, config.head_width)
        self.keys = torch.zeros(shape, device=device)
        self.values = torch.zeros(shape, device=device)
        self.rings_of_slots = [list(zip(k.mT, v, strict=True)) for k, v in zip(self.keys, self.values, strict=True)]
        """For each layer and slot: keys [heads, head_width, entries] and values [heads, entries, head_width]."""
        self.rope = Rope(config.head_width, config.max_period, device)
        self._written = self._entries_written().to(device)
        self._masks = self._first_lap_and_later().to(device)

    def reset(self, slot: int) -> None:
        """Forgets a slot. Zeros, because a masked NaN would still be one: 0 * NaN."""
        self.keys[:, slot] = 0
        self.values[:, slot] = 0

    def frame(self, slots: Sequence[int], starts: Sequence[int]) -> Attend:
        """Attention for one frame of the given slots, whose first new position is `starts`."""
        kind = SlotBySlotAttention if on_cpu(self.keys.device) else MaskedAttention
        return kind(self, slots, starts)

    def place(self, slots: Sequence[int], starts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Where a frame is written and what it sees.

        Gives the rows [N * T * heads] of a layer's keys or values, seen as one table [., head_width], and the mask
        [N, 1, T, entries]: minus infinity at what a position must not see.
        """
        context, device = self.config.context, self.keys.device
        laps_of = [start if start < context else context + start % context for start in starts]
        laps = torch.tensor(laps_of, device=device)
        first_rows = torch.tensor([[slot * self.config.heads * self.entries] for slot in slots], device=device)
        rows = first_rows + self._written.index_select(0, laps % context)
        return rows.flatten(), self._masks.index_select(0, laps)

    def _entries_written(self) -> Tensor:
        """[context, T * heads]: rows of a slot that a frame at ring index i writes."""
        config = self.config
        steps = torch.arange(config.context)[:, None] + torch.arange(config.positions_per_frame)
        rows = (steps % config.context)[:, :, None] + self.entries * torch.arange(config.heads)
        return rows.flatten(1)

    def _first_lap_and_later(self) -> Tensor:
        """[2 * context, 1, T, entries]: for a frame at ring index i, row i as the ring fills, then row context + i."""
        context, new = self.config.context, self.config.positions_per_frame
        later = torch.full((context, 1, new, self.entries), _MASKED)
        later[..., :context] = 0
        for index in range(context):
            for query in range(new):
                later[index, 0, query, [(index + newer) % context for newer in range(query + 1, new)]] = _MASKED
        unwritten = torch.arange(self.entries) >= torch.arange(context)[:, None] + new
        return torch.cat((later.masked_fill(unwritten[:, None, None], _MASKED), later))


class _CachedAttention:
    """Where the new positions of one frame lie in the rings, for all layers alike."""

    def __init__(self, cache: MimiKvCache, slots: Sequence[int], starts: Sequence[int]) -> None:
        self._cache, self._slots = cache, slots
        self._rows, self._masks = cache.place(slots, starts)
        new = range(cache.config.positions_per_frame)
        positions = torch.tensor([start + later for start in starts for later in new], device=cache.keys.device)
        self.rotation = cache.rope.rotations(positions)

    def _write(self, layer: int, k: Tensor, v: Tensor) -> None:
        width = k.shape[-1]
        for ring, new in ((self._cache.keys, k), (self._cache.values, v)):
            ring[layer].view(-1, width).index_copy_(0, self._rows, new.reshape(-1, width))


class SlotBySlotAttention(_CachedAttention):
    """Reads each slot's ring in place: fastest on CPU, where copies cost most.

    Two products and a softmax take a sixth less time there than torch's fused kernel, for few queries and many keys.
    """

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self._write(layer, k, v)
        N, T, heads, width = q.shape
        rings = [self._cache.rings_of_slots[layer][slot] for slot in self._slots]
        scores = q.new_empty(N, heads, T, self._cache.entries)
        for row, query, (keys, _) in zip(scores, q.transpose(1, 2), rings, strict=True):
            torch.bmm(query, keys, out=row)
        weights = torch.softmax(torch.add(self._masks, scores, alpha=width**-0.5, out=scores), dim=-1)
        seen = q.new_empty(N, heads, T, width)
        for row, weight, (_, values) in zip(seen, weights, rings, strict=True):
            torch.bmm(weight, values, out=row)
        return seen.transpose(1, 2)


class MaskedAttention(_CachedAttention):
    """All slots in one call over whole rings: few launches, for accelerators."""

    def __init__(self, cache: MimiKvCache, slots: Sequence[int], starts: Sequence[int]) -> None:
        super().__init__(cache, slots, starts)
        self._of_slots = torch.tensor(slots, device=cache.keys.device)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self._write(layer, k, v)
        keys, values = self._cache.keys[layer][self._of_slots], self._cache.values[layer][self._of_slots]
        seen = F.scaled_dot_product_attention(q.transpose(1, 2), keys, values, attn_mask=self._masks)
        return seen.transpose(1, 2)
