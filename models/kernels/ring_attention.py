"""Attention over rings of keys and values, every row with a slot, a position and so a length of its own.

The key of position p lies at place p mod capacity of its slot. It counts for a row at `position` iff

    (position - place) mod capacity < min(context, position + 1)

so places beyond the context are spare: up to capacity - context + 1 rows of one slot may write first and attend
afterwards, and none of them sees a later one. Rows of position -1 are padding: they write nothing, and give zeros. No
row's result depends on the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moshi_cluster.models.kernels.int8_vectors import int8_codes
from moshi_cluster.models.kernels.operator import operator
from moshi_cluster.models.layers.rope import rotate

_SPLITS = 64, 128, 256, 512
_MOST_PROGRAMS = 12288


def split_places(heads: int, capacity: int) -> int:
    """Places that one program of the compiled kernel reads, for so many heads of all rows over rings of that capacity.

    It leaves its sums in memory. The shorter a split is, the sooner few rows are done, for a program reads block after
    block; with many rows there are programs enough, and fewer sums to put together are better. It depends on how many
    rows a step has, as the products around it do, never on what they are.
    """
    return next((split for split in _SPLITS if heads * -(-capacity // split) <= _MOST_PROGRAMS), _SPLITS[-1])


def turn_and_write_reference(
    qkv: Tensor,
    rotations: Tensor,
    slots: Tensor,
    positions: Tensor,
    keys: Tensor,
    values: Tensor,
    key_scales: Tensor | None,
    value_scales: Tensor | None,
) -> Tensor:
    """Rotary embedding of queries and keys; keys and values go to their places. Gives the queries [R, heads, head_dim].

    qkv: [R, 3, heads, head_dim]; rotations: complex64 [R, 2, 1, head_dim / 2], of queries and keys; slots, positions:
    int64 [R]; keys, values: [slots, heads, capacity, head_dim], of 8 bits with scales float32 [slots, heads, capacity].
    """
    q, k = rotate(qkv[:, :2], rotations).unbind(1)
    written = positions >= 0
    at = slots[written], slice(None), positions[written] % keys.shape[2]
    for ring, scales, new in ((keys, key_scales, k), (values, value_scales, qkv[:, 2])):
        if scales is None:
            ring[at] = new[written].to(ring.dtype)
        else:
            ring[at], scales[at] = int8_codes(new[written])
    return q.contiguous()


def ring_attention_reference(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    key_scales: Tensor | None,
    value_scales: Tensor | None,
    slots: Tensor,
    positions: Tensor,
    context: int,
) -> Tensor:
    """q: [R, heads, head_dim], already scaled, of `turn_and_write` -> [R, heads * head_dim] in the type of q.

    Computed in float32. A place that does not count may hold anything, NaN included.
    """
    rows, heads, head_dim = q.shape
    capacity = keys.shape[2]
    slots = torch.where(positions >= 0, slots, 0)  # padding rows may name a slot that is none
    place = torch.arange(capacity, device=q.device)
    age = (positions[:, None] - place) % capacity
    seen = (age < (positions + 1).clamp(max=context)[:, None])[:, None]
    k, v = (_decoded(ring, scales, slots) for ring, scales in ((keys, key_scales), (values, value_scales)))
    scores = torch.bmm(q.float().flatten(0, 1).unsqueeze(1), k.flatten(0, 1).transpose(1, 2)).view(rows, heads, -1)
    weights = scores.masked_fill(~seen, float("-inf")).softmax(dim=-1).masked_fill(~seen, 0.0)
    v = v.masked_fill(~seen[..., None], 0.0)
    return torch.bmm(weights.flatten(0, 1).unsqueeze(1), v.flatten(0, 1)).view(rows, heads * head_dim).to(q.dtype)


def _decoded(ring: Tensor, scales: Tensor | None, slots: Tensor) -> Tensor:
    """The rings of the slots, float32 [R, heads, capacity, head_dim]."""
    wide = ring[slots].float()
    return wide if scales is None else wide * scales[slots].unsqueeze(-1)


turn_and_write = operator(
    turn_and_write_reference,
    lambda qkv, *rest: torch.empty_like(qkv[:, 0], memory_format=torch.contiguous_format),
    mutates=["keys", "values", "key_scales", "value_scales"],
)
ring_attention = operator(ring_attention_reference, lambda q, *rest: torch.empty_like(q.flatten(1)))
