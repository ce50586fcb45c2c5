"""RMS norm and gate in Triton."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

_TILE = 1024


def rms_norm(x: Tensor, alpha: Tensor, eps: float) -> Tensor:
    x = x.contiguous()
    out, width = x.new_empty(x.shape), x.shape[-1]
    padded = triton.next_power_of_2(width)
    rms_norm_kernel[(x.numel() // width,)](x, alpha, out, eps, width, padded, num_warps=min(8, max(1, padded // 512)))
    return out


def silu_gate(ab: Tensor) -> Tensor:
    rows, both = ab.shape
    width = both // 2
    out = ab.new_empty(rows, width)
    tile = min(_TILE, triton.next_power_of_2(width))
    silu_gate_kernel[rows, triton.cdiv(width, tile)](ab.contiguous(), out, width, tile, num_warps=4)
    return out


@triton.jit
def rms_norm_kernel(x_at, alpha, out, eps, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, PADDED)
    x = tl.load(x_at + row * WIDTH + d, mask=d < WIDTH, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, axis=0) / WIDTH + eps)
    y = x * (tl.load(alpha + d, mask=d < WIDTH, other=0.0) * scale)
    tl.store(out + row * WIDTH + d, y.to(out.dtype.element_ty), mask=d < WIDTH)


@triton.jit
def silu_gate_kernel(ab, out, WIDTH: tl.constexpr, TILE_: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * TILE_ + tl.arange(0, TILE_)
    a = tl.load(ab + row * 2 * WIDTH + d, mask=d < WIDTH, other=0.0).to(tl.float32)
    b = tl.load(ab + row * 2 * WIDTH + WIDTH + d, mask=d < WIDTH, other=0.0).to(tl.float32)
    gate = (a / (1.0 + tl.exp(-a))).to(out.dtype.element_ty).to(tl.float32)  # rounded where torch rounds
    tl.store(out + row * WIDTH + d, (gate * b).to(out.dtype.element_ty), mask=d < WIDTH)
