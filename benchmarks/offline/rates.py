"""Machine rates: bytes read and multiply-adds done per second, at best."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

_MIB = 2**20
_BUFFERS_MIB = (4, 16, 32, 64, 128, 256)  # from what caches hold to what they do not
_SIDE = {"cpu": 1536, "cuda": 8192}  # of the square matrices multiplied
_LEAST_REPEATS = 4
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Rates:
    """The best of many tries each, so that floors are floors."""

    read_gb_s: dict[int, float]  # by MiB read again and again
    matrix_gflop_s: dict[torch.dtype, float]

    def or_better(self, again: Rates) -> Rates:
        """The better of two measurements, figure by figure: a neighbour's load makes both worse."""
        reads = {size: max(rate, again.read_gb_s[size]) for size, rate in self.read_gb_s.items()}
        products = {dtype: max(rate, again.matrix_gflop_s[dtype]) for dtype, rate in self.matrix_gflop_s.items()}
        return Rates(reads, products)

    def read_ms(self, count_bytes: float) -> float:
        """Milliseconds to read so much, at the rate of the largest measured buffer that is not larger."""
        fitting = [size for size in self.read_gb_s if size * _MIB <= count_bytes] or [min(self.read_gb_s)]
        return count_bytes / self.read_gb_s[max(fitting)] / 1e6

    def multiply_ms(self, operations: float, dtype: torch.dtype) -> float:
        """Milliseconds for so many operations (a multiply-add is two) in products of a type."""
        return operations / self.matrix_gflop_s[dtype] / 1e6


def measured_rates(device: torch.device, each_s: float) -> Rates:
    """each_s: seconds spent on each of the figures."""
    reads = {size: _read_gb_s(size * _MIB, device, each_s) for size in _BUFFERS_MIB}
    return Rates(reads, {dtype: _matrix_gflop_s(dtype, device, each_s) for dtype in (torch.bfloat16, torch.float32)})


def _read_gb_s(count_bytes: int, device: torch.device, limit_s: float) -> float:
    one, other = torch.ones(2, count_bytes // _FLOAT_BYTES // 2, device=device)
    by_dot = _best_s(lambda: torch.dot(one, other), device, limit_s / 2)
    by_sum = _best_s(lambda: one.sum() + other.sum(), device, limit_s / 2)
    return count_bytes / min(by_dot, by_sum) / 1e9


def _matrix_gflop_s(dtype: torch.dtype, device: torch.device, limit_s: float) -> float:
    side = _SIDE.get(device.type, _SIDE["cpu"])
    left, right = torch.randn(2, side, side, device=device).to(dtype)
    return 2 * side**3 / _best_s(lambda: left @ right, device, limit_s) / 1e9


def _best_s(work: Callable[[], object], device: torch.device, limit_s: float) -> float:
    best_s, end_s, repeats = math.inf, time.perf_counter() + limit_s, 0
    while repeats < _LEAST_REPEATS or time.perf_counter() < end_s:
        start_s = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best_s = min(best_s, time.perf_counter() - start_s)
        repeats += 1
    return best_s
