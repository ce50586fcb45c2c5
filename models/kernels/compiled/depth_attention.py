"""Attention of the Depth Transformer in Triton: one program per head and row."""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor


def depth_attention(qkv: Tensor, buffer: Tensor, step: int) -> Tensor:
    rows, _, heads, head_dim = qkv.shape
    steps = buffer.shape[2]
    out = qkv.new_empty(rows, heads * head_dim)
    sizes = heads, steps, triton.next_power_of_2(steps), head_dim, triton.next_power_of_2(head_dim)
    depth_attention_kernel[heads, rows](
        qkv.contiguous(), buffer, out, step, 1 / math.sqrt(head_dim), *sizes, num_warps=1
    )
    return out


@triton.jit
def depth_attention_kernel(
    qkv, buffer, out, step, scale,
    HEADS: tl.constexpr, STEPS: tl.constexpr, STEPS_PADDED: tl.constexpr, D: tl.constexpr, D_PADDED: tl.constexpr,
):  # fmt: skip
    head, row = tl.program_id(0), tl.program_id(1).to(tl.int64)
    d = tl.arange(0, D_PADDED)
    inside = d < D
    source = qkv + (row * 3 * HEADS + head) * D + d
    q = tl.load(source, mask=inside, other=0.0).to(tl.float32) * scale
    k = tl.load(source + HEADS * D, mask=inside, other=0.0).to(tl.float32)
    v = tl.load(source + 2 * HEADS * D, mask=inside, other=0.0).to(tl.float32)
    keys = buffer + ((row * 3 + 1) * STEPS * HEADS + head) * D
    values = keys + STEPS * HEADS * D
    tl.store(keys + step * HEADS * D + d, k, mask=inside)
    tl.store(values + step * HEADS * D + d, v, mask=inside)
    # What this program has just written it takes from its registers.
    s = tl.arange(0, STEPS_PADDED)[:, None]
    past = (s < step) & inside[None, :]
    all_keys = tl.where(s == step, k[None, :], tl.load(keys + s * HEADS * D + d[None, :], mask=past, other=0.0))
    all_values = tl.where(s == step, v[None, :], tl.load(values + s * HEADS * D + d[None, :], mask=past, other=0.0))
    score = tl.where(s <= step, tl.sum(all_keys * q[None, :], axis=1)[:, None], -float("inf"))
    weight = tl.exp(score - tl.max(score, axis=0)[None, :])
    weight = weight / tl.sum(weight, axis=0)[None, :]
    y = tl.sum(weight * all_values, axis=0)
    tl.store(out + (row * HEADS + head) * D + d, y.to(out.dtype.element_ty), mask=inside)
