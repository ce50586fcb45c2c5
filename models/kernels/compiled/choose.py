"""Choice of a token per row in Triton: one program a row, a vocabulary that is too wide for it in tiles.

The k-th largest logit is found bit by bit: logits are put in the order of integers, and the largest integer is built
that at least k of them reach. So k may differ from row to row, and ties cost nothing.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from moshi_cluster.models.kernels.noise import SPLITMIX_FIRST, SPLITMIX_SECOND, SPLITMIX_STEP

TILE = 2048
_STEP = tl.constexpr(SPLITMIX_STEP)
_FIRST = tl.constexpr(SPLITMIX_FIRST)
_SECOND = tl.constexpr(SPLITMIX_SECOND)


def choose(
    logits: Tensor,
    seeds: Tensor,
    calls: Tensor,
    temperatures: Tensor,
    top_ks: Tensor,
    forced: Tensor,
    stream: int,
    tile: int = TILE,
) -> Tensor:
    rows, vocabulary = logits.shape
    out = torch.empty(rows, dtype=torch.int64, device=logits.device)
    tile = min(tile, triton.next_power_of_2(vocabulary))
    settings = seeds, calls, temperatures, top_ks, forced, calls.stride(0), forced.stride(0)
    choose_kernel[(rows,)](logits.contiguous(), *settings, out, stream, vocabulary, tile, num_warps=4)
    return out


@triton.jit
def choose_kernel(
    logits, seeds, calls, temperatures, top_ks, forced, calls_stride, forced_stride, out, stream,
    VOCABULARY: tl.constexpr, TILE_: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    logits += row.to(tl.int64) * VOCABULARY
    k = tl.minimum(tl.maximum(tl.load(top_ks + row), 1), VOCABULARY)
    last = _kth_largest(logits, k, VOCABULARY, TILE_)
    key = _stream_key(tl.load(seeds + row), tl.load(calls + row * calls_stride), stream)
    temperature = tl.load(temperatures + row)
    best = tl.full([], -float("inf"), tl.float64)
    token = tl.full([], 0, tl.int32)
    for first in range(0, VOCABULARY, TILE_):
        t = first + tl.arange(0, TILE_)
        x = tl.load(logits + t, mask=t < VOCABULARY, other=-float("inf")).to(tl.float32)
        score = _gumbel(key, t) * temperature + x.to(tl.float64)
        score = tl.where((t < VOCABULARY) & (x >= last), score, -float("inf"))
        highest = tl.max(score, axis=0)
        # The first of equals, as argmax has it: a later tile has to be better, and in a tile the least id counts.
        here = tl.min(tl.where(score == highest, t, VOCABULARY - 1), axis=0)
        token = tl.where(highest > best, here, token)
        best = tl.maximum(best, highest)
    given = tl.load(forced + row * forced_stride)
    tl.store(out + row, tl.where(given >= 0, given, token.to(tl.int64)))


@triton.jit
def _kth_largest(logits, k, VOCABULARY: tl.constexpr, TILE_: tl.constexpr):
    """The k-th largest logit, float32."""
    found = tl.full([], 0, tl.int64)
    order = _order(logits, 0, VOCABULARY, TILE_)
    for i in range(32):
        tried = found + (tl.full([], 1, tl.int64) << (31 - i))
        reached = (order >= tried).to(tl.int32)
        for first in range(TILE_, VOCABULARY, TILE_):
            reached += (_order(logits, first, VOCABULARY, TILE_) >= tried).to(tl.int32)
        found = tl.where(tl.sum(reached, axis=0) >= k, tried, found)
    signed = (found - 2147483648).to(tl.int32)
    return (signed ^ ((signed >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def _order(logits, first, VOCABULARY: tl.constexpr, TILE_: tl.constexpr):
    """A tile of logits as integers of the same order, 0 to 2^32 - 1; -1 beyond the vocabulary."""
    t = first + tl.arange(0, TILE_)
    x = tl.load(logits + t, mask=t < VOCABULARY, other=0.0).to(tl.float32)
    bits = x.to(tl.int32, bitcast=True)
    order = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64) + 2147483648
    return tl.where(t < VOCABULARY, order, -1)


@triton.jit
def _stream_key(seed, call, stream):
    step = tl.full([], _STEP, tl.uint64)
    key = _mixed(seed.to(tl.uint64, bitcast=True) + step)
    key = _mixed(key + (call + 1).to(tl.uint64, bitcast=True) * step)
    return _mixed(key + (stream + tl.full([], 1, tl.uint64)) * step)


@triton.jit
def _gumbel(key, t):
    """Gumbel noise of the tokens t, float64."""
    bits = _mixed((t + 1).to(tl.uint64) * tl.full([], _STEP, tl.uint64) + key) >> 12
    uniform = (bits.to(tl.float64) + 0.5) * 2.220446049250313e-16  # 2^-52
    return -tl.log(-tl.log(uniform))


@triton.jit
def _mixed(x):
    """The finaliser of SplitMix64."""
    x = (x ^ (x >> 30)) * tl.full([], _FIRST, tl.uint64)
    x = (x ^ (x >> 27)) * tl.full([], _SECOND, tl.uint64)
    return x ^ (x >> 31)
