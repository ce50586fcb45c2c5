"""Ring attention in Triton: the keys and values of each row are read once, where they lie.

The places of a slot are cut into splits, one program each, as long as the number of rows of the step asks for; a second
kernel puts the splits of a row together. A row's sums do not depend on what the other rows are.
"""

from __future__ import annotations

import math
import os

import torch
import triton
import triton.language as tl
from torch import Tensor

from moshi_cluster.models.kernels.int8_vectors import LARGEST, LEAST_MAGNITUDE
from moshi_cluster.models.kernels.ring_attention import split_places

BLOCK = 32  # places read at once: with one warp no register is spilled, and 8-bit keys come 16 bytes at a time
WARPS = 1
STAGES = {1: 3, 2: 3, 4: 1}
"""By bytes of a number: blocks that are on their way or at hand."""
_LOG2_E = tl.constexpr(math.log2(math.e))
_LARGEST = tl.constexpr(float(LARGEST))
_LEAST_MAGNITUDE = tl.constexpr(LEAST_MAGNITUDE)
_ROUND = tl.constexpr(12582912.0)  # 1.5 * 2^23: added and subtracted it rounds to the nearest, halves to even

_INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
_WIDEN = tl.constexpr("""{
    .reg .b32 codes, a, b, c, d;
    xor.b32 codes, $4, 0x80808080;
    prmt.b32 a, codes, 0x4B000000, 0x7440;
    prmt.b32 b, codes, 0x4B000000, 0x7441;
    prmt.b32 c, codes, 0x4B000000, 0x7442;
    prmt.b32 d, codes, 0x4B000000, 0x7443;
    mov.b32 $0, a;
    mov.b32 $1, b;
    mov.b32 $2, c;
    mov.b32 $3, d;
    add.rn.f32 $0, $0, 0fCB000080;
    add.rn.f32 $1, $1, 0fCB000080;
    add.rn.f32 $2, $2, 0fCB000080;
    add.rn.f32 $3, $3, 0fCB000080;
}""")


def turn_and_write(
    qkv: Tensor,
    rotations: Tensor,
    slots: Tensor,
    positions: Tensor,
    keys: Tensor,
    values: Tensor,
    key_scales: Tensor | None,
    value_scales: Tensor | None,
) -> Tensor:
    rows, _, heads, head_dim = qkv.shape
    q = torch.empty(rows, heads, head_dim, dtype=qkv.dtype, device=qkv.device)
    turns = torch.view_as_real(rotations.contiguous())
    sizes = heads, keys.shape[2], head_dim
    stored = keys, values, key_scales, value_scales
    turn_and_write_kernel[heads, rows](
        qkv.contiguous(),
        turns,
        slots.contiguous(),
        positions.contiguous(),
        q,
        *stored,
        *sizes,
        key_scales is not None,
        num_warps=1,
    )
    return q


def ring_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    key_scales: Tensor | None,
    value_scales: Tensor | None,
    slots: Tensor,
    positions: Tensor,
    context: int,
    split: int | None = None,
    block: int = BLOCK,
    warps: int = WARPS,
    stages: int | None = None,
) -> Tensor:
    rows, heads, head_dim = q.shape
    capacity = keys.shape[2]
    split, stages = split or split_places(rows * heads, capacity), stages or STAGES[keys.itemsize]
    assert split % block == 0, "a block beyond its split would be counted twice"
    splits = triton.cdiv(capacity, split)
    sums = torch.empty(rows, heads, splits, head_dim, device=q.device)
    weights = torch.empty(rows, heads, splits, 2, device=q.device)
    out = torch.empty(rows, heads * head_dim, dtype=q.dtype, device=q.device)
    stored = keys, values, key_scales, value_scales
    # Vectors that a warp reads at once, 16 bytes a thread.
    groups = max(1, min(block, 32 * 16 // (head_dim * keys.itemsize)))
    sizes = heads, capacity, context, head_dim, split, splits, block, groups, stages
    slots, positions = slots.contiguous(), positions.contiguous()
    split_kernel[heads, rows, splits](
        q, *stored, slots, positions, sums, weights, *sizes, key_scales is not None, num_warps=warps
    )
    padded = triton.next_power_of_2(splits)
    combine_kernel[heads, rows](
        sums, weights, positions, out, heads, capacity, head_dim, split, splits, padded, num_warps=1
    )
    return out


@triton.jit
def split_kernel(
    q_at, keys, values, key_scales, value_scales, slots, positions, sums, weights,
    HEADS: tl.constexpr, CAPACITY: tl.constexpr, CONTEXT: tl.constexpr, D: tl.constexpr,
    SPLIT_: tl.constexpr, SPLITS: tl.constexpr, BLOCK_: tl.constexpr, GROUPS: tl.constexpr, STAGES_: tl.constexpr,
    INT8: tl.constexpr,
):  # fmt: skip
    """One head of one row over the places of one split: its sum of values, largest score and sum of weights."""
    head, row, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    position = tl.load(positions + row)
    written = tl.minimum(position + 1, CAPACITY).to(tl.int32)  # places that hold anything; none for a padding row
    start = split * SPLIT_
    if start < written:
        slot = tl.load(slots + row).to(tl.int64)  # a layer may have more than 2^31 elements
        base = (slot * HEADS + head) * CAPACITY
        d = tl.arange(0, D)
        q = tl.load(q_at + (row * HEADS + head) * D + d).to(tl.float32) * _LOG2_E
        newest = (position % CAPACITY).to(tl.int32)
        seen = tl.minimum(position + 1, CONTEXT).to(tl.int32)
        # Every group has sums of its own until the end, so that in the loop hardly a thread waits for another.
        of_block = tl.arange(0, GROUPS)[:, None] + tl.arange(0, BLOCK_ // GROUPS)[None, :] * GROUPS
        top = tl.full([GROUPS], -float("inf"), tl.float32)
        total = tl.zeros([GROUPS], tl.float32)
        out = tl.zeros([GROUPS, 1, D], tl.float32)
        for at in tl.range(start, tl.minimum(start + SPLIT_, written), BLOCK_, num_stages=STAGES_):
            place = at + of_block
            age = newest - place
            # What does not count is not read: it may be anything, NaN included.
            counts = (place < written) & (tl.where(age < 0, age + CAPACITY, age) < seen)
            offsets = (base + place)[:, :, None] * D + d[None, None, :]
            k = tl.load(keys + offsets, mask=counts[:, :, None], other=0)
            v = tl.load(values + offsets, mask=counts[:, :, None], other=0)
            score = tl.sum(_wide(k, INT8) * q[None, None, :], axis=2)
            if INT8:
                score *= tl.load(key_scales + base + place, mask=counts, other=0.0)
            score = tl.where(counts, score, -float("inf"))
            higher = tl.maximum(top, tl.max(score, axis=1))
            base_score = tl.where(higher == -float("inf"), 0.0, higher)
            weight = tl.exp2(score - base_score[:, None])
            kept = tl.exp2(top - base_score)
            total = total * kept + tl.sum(weight, axis=1)
            if INT8:
                weight *= tl.load(value_scales + base + place, mask=counts, other=0.0)
            out = out * kept[:, None, None] + tl.sum(weight[:, :, None] * _wide(v, INT8), axis=1, keep_dims=True)
            top = higher
        highest = tl.max(top, axis=0)
        share = tl.exp2(top - tl.where(highest == -float("inf"), 0.0, highest))
        whole = tl.sum(tl.sum(out * share[:, None, None], axis=0), axis=0)
        _store_split((row * HEADS + head) * SPLITS + split, sums, weights, whole, highest, tl.sum(total * share), D)


@triton.jit
def _wide(x, INT8: tl.constexpr):
    """A block of keys or values in float32.

    Hardware turns an integer into a number on a unit that makes 16 of them a cycle, no more than memory delivers. Put
    behind the exponent of 2^23, the code plus 128 is a number already, from which 2^23 + 128 is subtracted. The
    interpreter takes the plain way; a test runs these instructions one by one.
    """
    if INT8 and not _INTERPRETED:
        return tl.inline_asm_elementwise(_WIDEN, "=f,=f,=f,=f,r", [x], dtype=tl.float32, is_pure=True, pack=4)
    return x.to(tl.float32)


@triton.jit
def _store_split(at, sums, weights, out, top, total, D: tl.constexpr):
    tl.store(sums + at * D + tl.arange(0, D), out)
    tl.store(weights + at * 2, top)
    tl.store(weights + at * 2 + 1, total)


@triton.jit
def combine_kernel(
    sums, weights, positions, out_at,
    HEADS: tl.constexpr, CAPACITY: tl.constexpr, D: tl.constexpr, SPLIT_: tl.constexpr, SPLITS: tl.constexpr,
    PADDED: tl.constexpr,
):  # fmt: skip
    """The splits of one head of one row put together; zeros for a padding row."""
    head, row = tl.program_id(0), tl.program_id(1)
    written = tl.minimum(tl.load(positions + row) + 1, CAPACITY)
    split = tl.arange(0, PADDED)
    used = (split < SPLITS) & (split * SPLIT_ < written)
    at = (row * HEADS + head) * SPLITS + split
    top = tl.load(weights + at * 2, mask=used, other=-float("inf"))
    total = tl.load(weights + at * 2 + 1, mask=used, other=0.0)
    highest = tl.max(top, axis=0)
    share = tl.exp2(top - tl.where(highest == -float("inf"), 0.0, highest))
    d = tl.arange(0, D)
    parts = tl.load(sums + at[:, None] * D + d[None, :], mask=used[:, None], other=0.0)
    whole = tl.sum(share * total, axis=0)
    out = tl.sum(parts * share[:, None], axis=0) / tl.where(whole == 0, 1.0, whole)
    tl.store(out_at + (row * HEADS + head) * D + d, out.to(out_at.dtype.element_ty))


@triton.jit
def turn_and_write_kernel(
    qkv, turns, slots, positions, q_at, keys, values, key_scales, value_scales,
    HEADS: tl.constexpr, CAPACITY: tl.constexpr, D: tl.constexpr, INT8: tl.constexpr,
):  # fmt: skip
    """One head of one row: query and key turned, key and value to their place."""
    head, row = tl.program_id(0), tl.program_id(1)
    position = tl.load(positions + row)
    source = qkv + (row * 3 * HEADS + head) * D
    d = tl.arange(0, D)
    q = _turned(source, turns + row * 2 * D, D)
    tl.store(q_at + (row * HEADS + head) * D + d, q.to(q_at.dtype.element_ty))
    if position >= 0:
        # Rounded as the model's type rounds, so that 8 bits are made of what a plain ring would hold.
        k = _turned(source + HEADS * D, turns + row * 2 * D + D, D).to(qkv.dtype.element_ty)
        v = tl.load(source + 2 * HEADS * D + d)
        slot = tl.load(slots + row).to(tl.int64)
        at = (slot * HEADS + head) * CAPACITY + position % CAPACITY
        if INT8:
            _store_int8(k, keys, key_scales, at, D)
            _store_int8(v, values, value_scales, at, D)
        else:
            tl.store(keys + at * D + d, k.to(keys.dtype.element_ty))
            tl.store(values + at * D + d, v.to(values.dtype.element_ty))


@triton.jit
def _turned(source, turn, D: tl.constexpr):
    """Pairs (2 j, 2 j + 1) times complex numbers: [D] float32."""
    pair = tl.arange(0, D // 2)
    cos, sin = tl.load(turn + 2 * pair), tl.load(turn + 2 * pair + 1)
    a, b = tl.load(source + 2 * pair).to(tl.float32), tl.load(source + 2 * pair + 1).to(tl.float32)
    return tl.interleave(a * cos - b * sin, a * sin + b * cos)


@triton.jit
def _store_int8(x, ring, scales, at, D: tl.constexpr):
    wide = x.to(tl.float32)
    scale = tl.math.div_rn(tl.maximum(tl.max(tl.abs(wide), axis=0), _LEAST_MAGNITUDE), _LARGEST)
    tl.store(ring + at * D + tl.arange(0, D), (tl.math.div_rn(wide, scale) + _ROUND - _ROUND).to(tl.int8))
    tl.store(scales + at, scale)
