"""Attention over the KV cache: the only place to change for another kernel.

An attention object is made once per forward pass and called once per layer. Each call first writes the new keys and
values into the cache, or behaves as if it had.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.layers.placement import on_cpu
from moshi_cluster.models.layers.rope import rotate
from moshi_cluster.models.moshi_lm.kv_buffer import KvBuffer, Rows

_FINE, _COARSE = 64, 256  # steps of padded lengths, below and above _COARSE


class Attention(Protocol):
    def __call__(self, layer: int, qkv: Tensor, rotations: Tensor) -> Tensor:
        """qkv: [N, 3, heads, head_dim] before the rotary embedding -> [N, heads * head_dim].

        rotations: complex64 [N, 2, 1, head_dim / 2], of queries, with the scale of attention in it, and keys.
        """

    def remember(self, layer: int, qkv: Tensor, rotations: Tensor) -> None:
        """Leaves the cache as the call does: for the last layer of frames that nobody wants to know anything of."""


class CacheAttention(ABC):
    """Attention whose rotary embedding comes first, as an operation of its own."""

    def __call__(self, layer: int, qkv: Tensor, rotations: Tensor) -> Tensor:
        q, k = rotate(qkv[:, :2], rotations).unbind(1)
        return self.attend(layer, q, k, qkv[:, 2])

    def remember(self, layer: int, qkv: Tensor, rotations: Tensor) -> None:
        _, k = rotate(qkv[:, :2], rotations).unbind(1)
        self.write(layer, k, qkv[:, 2])

    @abstractmethod
    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (already scaled), k, v: [N, heads, head_dim] -> [N, heads * head_dim]."""

    @abstractmethod
    def write(self, layer: int, k: Tensor, v: Tensor) -> None:
        """k, v: [N, heads, head_dim], to where `attend` leaves them."""


class StepAttention(CacheAttention):
    """One frame of each of several sessions, every one against its own past.

    Rows are grouped by the number of places they read, rounded up; so what is computed for a session never depends
    on its neighbours, and the empty part of a slot is never read.
    """

    def __init__(
        self,
        keys: Sequence[KvBuffer],
        values: Sequence[KvBuffer],
        slots: Sequence[int],
        positions: Sequence[int],
        device: torch.device,
    ) -> None:
        self._keys, self._values = keys, values
        capacity = keys[0].capacity
        self._slots = torch.tensor(slots, device=device)
        self._places = torch.tensor([position % capacity for position in positions], device=device)
        rows_of: dict[tuple[int, bool], list[int]] = {}
        lengths = [min(position + 1, capacity) for position in positions]
        for row, length in enumerate(lengths):
            padded = _padded(length, capacity)
            rows_of.setdefault((padded, length < padded), []).append(row)
        self._groups = [
            _Group([slots[row] for row in rows], [lengths[row] for row in rows], rows, padded, device)
            for (padded, _), rows in rows_of.items()
        ]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.write(layer, k, v)
        keys, values = self._keys[layer], self._values[layer]
        if len(self._groups) == 1:
            return self._groups[0](q, keys, values)
        out = q.new_empty(q.shape[0], q.shape[1] * q.shape[2])
        for group in self._groups:
            out[group.rows] = group(q[group.rows], keys, values)
        return out

    def write(self, layer: int, k: Tensor, v: Tensor) -> None:
        self._keys[layer].write(self._slots, self._places, k)
        self._values[layer].write(self._slots, self._places, v)


class ExactChunk(CacheAttention):
    """Consecutive frames of one session, each bit for bit as its own step would do it.

    Up to the cache's capacity nothing is overwritten that a row still sees: in float32 all keys and values are written
    at once, and rows that read the same number of places share their calls. What lies behind goes row by row.
    """

    def __init__(
        self,
        keys: Sequence[KvBuffer],
        values: Sequence[KvBuffer],
        slot: int,
        start: int,
        rows: int,
        device: torch.device,
    ) -> None:
        self._keys, self._values = keys, values
        self._slot, self._start, self._rows = slot, start, rows
        self._capacity = capacity = keys[0].capacity
        self._together = max(0, min(rows, capacity - start))
        lengths = range(start + 1, start + self._together + 1)
        self._groups = [
            _NeighbouringRows(slot, list(group), padded, device)
            for padded, group in itertools.groupby(lengths, lambda length: _padded(length, capacity))
        ]
        self._places = torch.arange(start, start + rows, device=device) % capacity
        self._steps: list[StepAttention] = []  # of the last rows, once they are needed

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = self._keys[layer], self._values[layer]
        outs, first = [], 0
        if q.dtype == torch.float32:  # in bfloat16 a product's last bit may depend on those beside it
            self._write(layer, k, v, slice(0, self._together))
            for group in self._groups:
                outs.append(group(q[first : first + group.rows], keys, values))
                first += group.rows
        for row, step in zip(range(first, self._rows), self._steps_from(first), strict=True):
            outs.append(step.attend(layer, q[row : row + 1], k[row : row + 1], v[row : row + 1]))
        return torch.cat(outs)

    def write(self, layer: int, k: Tensor, v: Tensor) -> None:
        self._write(layer, k, v, slice(max(0, self._rows - self._capacity), self._rows))

    def _write(self, layer: int, k: Tensor, v: Tensor, rows: slice) -> None:
        places = self._places[rows]
        slots = torch.full_like(places, self._slot)
        self._keys[layer].write(slots, places, k[rows])
        self._values[layer].write(slots, places, v[rows])

    def _steps_from(self, row: int) -> list[StepAttention]:
        if not self._steps:
            of = self._keys, self._values, [self._slot]
            device = self._places.device
            self._steps = [StepAttention(*of, [self._start + each], device) for each in range(row, self._rows)]
        return self._steps


class ChunkInOneCall(CacheAttention):
    """Consecutive frames of one session against the slot's old content and each other, under a band mask.

    Frame q sees frame p iff 0 <= q - p < capacity, as if the frames had been stepped; the slot is written afterwards,
    for a chunk may overwrite frames that its first rows still see.
    """

    def __init__(
        self,
        keys: Sequence[KvBuffer],
        values: Sequence[KvBuffer],
        slot: int,
        start: int,
        rows: int,
        device: torch.device,
    ) -> None:
        self._keys, self._values, self._slot = keys, values, slot
        capacity = keys[0].capacity
        new = torch.arange(start, start + rows, device=device)
        self._old = min(start, capacity)
        place = torch.arange(self._old, device=device)
        latest = start - 1 - (start - 1 - place) % capacity  # the frame that lies at each place
        distance = new[:, None] - torch.cat([latest, new])
        self._seen = (distance >= 0) & (distance < capacity)
        self._written = slice(max(0, rows - capacity), rows)
        self._places = new[self._written] % capacity
        self._slots = torch.full_like(self._places, slot)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = self._keys[layer], self._values[layer]
        all_keys = torch.cat([self._old_part(keys, q.dtype), k.transpose(0, 1)[None]], dim=2)
        all_values = torch.cat([self._old_part(values, q.dtype), v.transpose(0, 1)[None]], dim=2)
        q = q.transpose(0, 1)[None]
        out = F.scaled_dot_product_attention(q, all_keys, all_values, attn_mask=self._seen, scale=1.0)
        self.write(layer, k, v)
        return out[0].transpose(0, 1).flatten(1)

    def write(self, layer: int, k: Tensor, v: Tensor) -> None:
        self._keys[layer].write(self._slots, self._places, k[self._written])
        self._values[layer].write(self._slots, self._places, v[self._written])

    def _old_part(self, buffer: KvBuffer, dtype: torch.dtype) -> Tensor:
        return _decoded(*buffer.read((self._slot, 1), self._old, dtype))


class _Group:
    """Rows that read the same number of places."""

    def __init__(
        self, slots: list[int], lengths: list[int], rows: list[int], padded: int, device: torch.device
    ) -> None:
        self.rows = torch.tensor(rows, device=device)
        self._padded = padded
        neighbours = slots == list(range(slots[0], slots[0] + len(slots)))
        self._slots: Rows = (slots[0], len(slots)) if neighbours else torch.tensor(slots, device=device)
        self._seen = None
        if min(lengths) < padded:
            place = torch.arange(padded, device=device)
            self._seen = (place < torch.tensor(lengths, device=device)[:, None])[:, None, None, :]

    def __call__(self, q: Tensor, keys: KvBuffer, values: KvBuffer) -> Tensor:
        key_parts = keys.read(self._slots, self._padded, q.dtype)
        value_parts = values.read(self._slots, self._padded, q.dtype)
        if on_cpu(q.device):
            return _two_products(q, *key_parts, *value_parts, self._seen)
        keys_values = _decoded(*key_parts), _decoded(*value_parts)
        out = F.scaled_dot_product_attention(q.unsqueeze(2), *keys_values, attn_mask=self._seen, scale=1.0)
        return out.flatten(1)


class _NeighbouringRows:
    """Rows of one slot, one behind the other, that read the same number of places."""

    def __init__(self, slot: int, lengths: list[int], padded: int, device: torch.device) -> None:
        self.rows = len(lengths)
        self._slot, self._padded = slot, padded
        place = torch.arange(padded, device=device)
        self._unseen = (place >= torch.tensor(lengths, device=device)[:, None])[:, None]

    def __call__(self, q: Tensor, keys: KvBuffer, values: KvBuffer) -> Tensor:
        key_parts = _of_one_slot(*keys.read((self._slot, 1), self._padded, q.dtype))
        value_parts = _of_one_slot(*values.read((self._slot, 1), self._padded, q.dtype))
        heads = zip(q.unbind(1), *key_parts, *value_parts, strict=True)
        return torch.cat([_two_products_of_a_head(*head, self._unseen) for head in heads], dim=1)


def _of_one_slot(x: Tensor, scales: Tensor | None) -> tuple[Sequence[Tensor], Sequence[Tensor | None]]:
    """[1, heads, ...], by head."""
    heads = x[0].unbind(0)
    return heads, [None] * len(heads) if scales is None else scales[0].unbind(0)


def _two_products_of_a_head(
    q: Tensor, keys: Tensor, key_scales: Tensor | None, values: Tensor, value_scales: Tensor | None, unseen: Tensor
) -> Tensor:
    """q: [N, head_dim], keys and values [length, head_dim] for all rows, unseen: [N, 1, length] -> [N, head_dim].

    N products of one row, as in `_two_products`: one of N rows would sum in another order.
    """
    rows = len(q)
    scores = torch.bmm(q.unsqueeze(1), keys.transpose(0, 1).expand(rows, -1, -1))
    if key_scales is not None:
        scores = scores * key_scales
    scores.masked_fill_(unseen, float("-inf"))
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32)
    if value_scales is not None:
        weights = weights * value_scales
    return torch.bmm(weights.to(q.dtype), values.expand(rows, -1, -1)).squeeze(1)


def _padded(length: int, capacity: int) -> int:
    """Places read for a session with `length` frames: few different values, so that sessions share a call."""
    step = _FINE if length <= _COARSE else _COARSE
    return min(-(-length // step) * step, capacity)


def _decoded(x: Tensor, scales: Tensor | None) -> Tensor:
    return x if scales is None else x * scales.unsqueeze(-1).to(x.dtype)


def _two_products(
    q: Tensor,
    keys: Tensor,
    key_scales: Tensor | None,
    values: Tensor,
    value_scales: Tensor | None,
    seen: Tensor | None,
) -> Tensor:
    """softmax(q K^T) V for CPU, softmax in float32; scales meet the scores and the weights, of which there are fewer.

    torch's fused kernel there sums in an order that depends on the batch (float32, lengths divisible by 8), and in
    bfloat16 takes five times as long.
    """
    scores = torch.bmm(q.flatten(0, 1).unsqueeze(1), keys.flatten(0, 1).transpose(1, 2))
    if key_scales is not None:
        scores = scores * key_scales.flatten(0, 1).unsqueeze(1)
    if seen is not None:
        scores.view(q.shape[0], q.shape[1], 1, -1).masked_fill_(~seen, float("-inf"))
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32)
    if value_scales is not None:
        weights = weights * value_scales.flatten(0, 1).unsqueeze(1)
    return torch.bmm(weights.to(q.dtype), values.flatten(0, 1)).view(q.shape[0], -1)
