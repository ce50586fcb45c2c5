"""Calls with full histories that join while others run: what that costs the others, and how long it takes."""

from __future__ import annotations

import time

import torch

from benchmarks.gpu.scale import Scale
from benchmarks.online.quantiles import quantile
from moshi_cluster.models.moshi_lm import Sampling
from moshi_cluster.models.moshi_lm.static import StaticGenerator, buckets_for

_OTHERS, _MANY, _MANY_S = 100, 16, 8.0


def run(scale: Scale) -> None:
    """One call joins; then as many as another worker's failure may bring at once."""
    many = 2 if scale.dry else _MANY
    fit = scale.slots_that_fit(torch.int8, (2 if scale.dry else _OTHERS) + many)
    many = min(many, max(1, fit // 4))
    running = _Running(scale, fit - many, fit)
    alone_ms = [running.step_ms() for _ in range(scale.steps)]
    joined_ms, taken_s = running.join(1, float("inf"))
    scale.figure(f"{scale.lm_config.context} frames restored beside {running.others} sessions", taken_s, "s")
    scale.figure("the others' p99 grows by", quantile(joined_ms, 0.99) - quantile(alone_ms, 0.99), "ms")
    joined_ms, taken_s = running.join(many, 0.1 if scale.dry else _MANY_S)
    grown_ms = quantile(joined_ms, 0.99) - quantile(alone_ms, 0.99)
    scale.figure(f"{many} join at once: the others' p99 grows by", grown_ms, "ms")
    scale.figure(f"{many} join at once: restored", running.restored / taken_s, "frames/s")


class _Running:
    """Sessions that speak, in the slots before those that join."""

    def __init__(self, scale: Scale, others: int, slots: int) -> None:
        self.others = others
        self.restored = 0  # frames of those that join, since `join`
        self._scale = scale
        self._generator = StaticGenerator(scale.lm, slots, kv_dtype=torch.int8, buckets=buckets_for(slots))
        self._generator.warm()
        for slot in range(others):
            self._generator.open(slot, Sampling(seed=slot))
            while self._generator.prefill(slot, 64):
                pass
        self._codes = torch.zeros(others, scale.lm_config.user_codebooks, dtype=torch.int64)

    def step_ms(self) -> float:
        """A frame of everybody."""
        start_s = time.perf_counter()
        self._generator.step(range(self.others), self._codes)
        return 1000 * (time.perf_counter() - start_s)

    def join(self, calls: int, most_s: float) -> tuple[list[float], float]:
        """Steps of the others until so many have joined, or for so long; and how long that was."""
        config = self._scale.lm_config
        joining = range(self.others, self.others + calls)
        for slot in joining:
            self._generator.close(slot)
            self._generator.open(slot, Sampling(), torch.zeros(config.context, config.streams, dtype=torch.int64))
        left, taken_ms, start_s = self._left(joining), [self.step_ms()], time.perf_counter()
        while self._left(joining) and time.perf_counter() - start_s < most_s:
            taken_ms.append(self.step_ms())
        self.restored = left - self._left(joining)
        return taken_ms, time.perf_counter() - start_s

    def _left(self, slots: range) -> int:
        return sum(self._generator.left(slot) for slot in slots)
