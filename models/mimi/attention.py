"""Causal attention over a whole clip, and over rings of keys and values for sessions that run frame by frame."""

from __future__ import annotations

import math
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
        self.rotation = _rotation(config, torch.arange(positions, device=device).repeat(clips))

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
        self.future = self._future(config.positions_per_frame).to(device)

    def reset(self, slot: int) -> None:
        """Forgets a slot. Zeros, because a masked NaN would still be one: 0 * NaN."""
        self.keys[:, slot] = 0
        self.values[:, slot] = 0

    def frame(self, slots: Sequence[int], starts: Sequence[int]) -> Attend:
        """Attention for one frame of the given slots, whose first new position is `starts`."""
        kind = SlotBySlotAttention if self.keys.device.type == "cpu" else MaskedAttention
        return kind(self, slots, starts)

    def _future(self, positions: int) -> Tensor:
        """[context, positions, context]: for a frame written at ring index i, minus infinity at entries after each."""
        context = self.config.context
        future = torch.zeros(context, positions, context)
        for index in range(context):
            for query in range(positions):
                future[index, query, [(index + later) % context for later in range(query + 1, positions)]] = _MASKED
        return future


class _RingAttention:
    """Where the new positions of one frame lie in the rings, for all layers alike."""

    def __init__(self, rings: KeyValueRings, slots: Sequence[int], starts: Sequence[int]) -> None:
        config, device = rings.config, rings.keys.device
        self._rings, self._slots, self._starts = rings, slots, starts
        new = torch.arange(config.positions_per_frame)
        positions = torch.tensor(starts)[:, None] + new
        self.rotation = _rotation(config, positions.flatten().to(device))
        head = torch.tensor(slots)[:, None] * config.heads + torch.arange(config.heads)
        entry = head[:, None, :] * config.context + (positions % config.context)[:, :, None]
        self._entry = entry.flatten().to(device)  # [N * T * heads], rows of the rings seen as one table

    def _write(self, layer: int, k: Tensor, v: Tensor) -> None:
        width = k.shape[-1]
        for ring, new in ((self._rings.keys, k), (self._rings.values, v)):
            ring[layer].view(-1, width).index_copy_(0, self._entry, new.reshape(-1, width))


class SlotBySlotAttention(_RingAttention):
    """Reads each slot's ring in place and only as far as it is written: fastest on CPU, where copies cost most.

    Two products and a softmax take a sixth less time there than torch's fused kernel, for few queries and many keys.
    """

    def __init__(self, rings: KeyValueRings, slots: Sequence[int], starts: Sequence[int]) -> None:
        super().__init__(rings, slots, starts)
        context, new = rings.config.context, rings.config.positions_per_frame
        self._scale = 1 / math.sqrt(rings.config.head_width)
        self._lengths = [min(start + new, context) for start in starts]
        futures = rings.future[[start % context for start in starts]]
        self._masks = [future[:, :length] for future, length in zip(futures, self._lengths, strict=True)]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self._write(layer, k, v)
        q = q.transpose(1, 2)
        out = torch.empty(q.shape)
        keys, values = self._rings.keys[layer], self._rings.values[layer]
        for row, slot in enumerate(self._slots):
            length = self._lengths[row]
            scores = torch.baddbmm(self._masks[row], q[row], keys[slot, :, :length].mT, alpha=self._scale)
            torch.bmm(torch.softmax(scores, dim=-1), values[slot, :, :length], out=out[row])
        return out.transpose(1, 2)


class MaskedAttention(_RingAttention):
    """All slots in one call over whole rings: few launches, for accelerators."""

    def __init__(self, rings: KeyValueRings, slots: Sequence[int], starts: Sequence[int]) -> None:
        super().__init__(rings, slots, starts)
        context, device = rings.config.context, rings.keys.device
        self._rows = torch.tensor(slots, device=device)
        start = torch.tensor(starts, device=device)
        unwritten = torch.arange(context, device=device) >= (start + rings.config.positions_per_frame)[:, None]
        self._mask = rings.future[start % context].masked_fill(unwritten[:, None], _MASKED)[:, None]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self._write(layer, k, v)
        keys, values = self._rings.keys[layer][self._rows], self._rings.values[layer][self._rows]
        seen = F.scaled_dot_product_attention(q.transpose(1, 2), keys, values, attn_mask=self._mask)
        return seen.transpose(1, 2)


def _rotation(config: MimiConfig, positions: Tensor) -> Tensor:
    cos, sin = Rope(config.head_width, config.max_period, positions.device).angles(positions)
    return torch.complex(cos, sin)
