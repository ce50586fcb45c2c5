"""Random numbers without state: noise as a pure function of where it is used (docs/model.md 3.3).

A session sounds the same alone, in a batch, after a fail-over and on another worker, because nothing is drawn from a
shared generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SPLITMIX_STEP = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd
SPLITMIX_FIRST = 0xBF58476D1CE4E5B9
SPLITMIX_SECOND = 0x94D049BB133111EB
_ALL_BITS = (1 << 64) - 1


def stream_keys(seeds: Sequence[int], calls: Sequence[int], streams: int, device: torch.device | str) -> Tensor:
    """One key per row and stream from the session's seed and its call number, int64 [N, streams]."""
    step = np.uint64(SPLITMIX_STEP)
    seed = np.array([seed & _ALL_BITS for seed in seeds], np.uint64)
    call = np.array(calls, np.uint64)
    key = _mixed_on_host(_mixed_on_host(seed + step) + (call + np.uint64(1)) * step)
    stream = np.arange(1, streams + 1, dtype=np.uint64) * step
    return torch.from_numpy(_mixed_on_host(key[:, None] + stream).view(np.int64)).to(device)


def stream_keys_on_device(seeds: Tensor, calls: Tensor, stream: int) -> Tensor:
    """`stream_keys` of one stream, from int64 [N] where they lie: int64 [N]."""
    key = _mixed(_mixed(seeds + _signed(SPLITMIX_STEP)) + (calls + 1) * _signed(SPLITMIX_STEP))
    return _mixed(key + _signed((stream + 1) * SPLITMIX_STEP & _ALL_BITS))


def gumbel(keys: Tensor, tokens: Tensor) -> Tensor:
    """Gumbel noise of each token, float64 [..., K], from keys [...] and token ids [..., K] or [K]."""
    bits = _mixed((tokens + 1) * _signed(SPLITMIX_STEP) + keys.unsqueeze(-1))
    uniform = _shifted(bits, 12).double().add_(0.5).mul_(2.0**-52)  # 52 bits, never 0 or 1
    return uniform.log_().neg_().log_().neg_()


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014), in wrapping signed arithmetic. Overwrites x."""
    x.bitwise_xor_(_shifted(x, 30)).mul_(_signed(SPLITMIX_FIRST))
    x.bitwise_xor_(_shifted(x, 27)).mul_(_signed(SPLITMIX_SECOND))
    return x.bitwise_xor_(_shifted(x, 31))


def _mixed_on_host(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """`_mixed` of uint64: a tenth of the time for the few keys of a batch."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(SPLITMIX_FIRST)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(SPLITMIX_SECOND)
    return x ^ (x >> np.uint64(31))


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch's own copies the sign."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    """64 bits as a signed number."""
    return value - (1 << 64) if value >> 63 else value
