"""Randomness without state: noise as a pure function of where it is used.

A session sounds the same alone, in a batch, after a fail-over and on another worker, because nothing is drawn from a
shared generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_STEP = 0x9E3779B97F4A7C15 - (1 << 64)  # 2^64 / golden ratio, odd, as a signed number
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


def stream_keys(seeds: Sequence[int], calls: Sequence[int], streams: int, device: torch.device | str) -> Tensor:
    """One key per row and stream from the session's seed and its call number, int64 [N, streams]."""
    seed = torch.tensor([_signed(seed) for seed in seeds], device=device)
    call = torch.tensor(calls, device=device)
    key = _mixed(_mixed(seed + _STEP) + (call + 1) * _STEP)
    return _mixed(key[:, None] + (torch.arange(streams, device=device) + 1) * _STEP)


def gumbel(keys: Tensor, tokens: Tensor) -> Tensor:
    """Gumbel noise of each token, float64 [N, K], from keys [N] and token ids [N, K]."""
    bits = _mixed(((tokens + 1) * _STEP).add_(keys[:, None]))
    uniform = (_shifted(bits, 12).double() + 0.5).mul_(2.0**-52)  # 52 bits, never 0 or 1
    return uniform.log_().neg_().log_().neg_()


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014), in wrapping signed arithmetic. Overwrites x."""
    x.bitwise_xor_(_shifted(x, 30)).mul_(_FIRST)
    x.bitwise_xor_(_shifted(x, 27)).mul_(_SECOND)
    return x.bitwise_xor_(_shifted(x, 31))


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch's own copies the sign."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    """The low 64 bits as a signed number."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
