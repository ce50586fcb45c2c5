"""The static step at Moshi's size: recording it, its time beside the floor, and the plain step for comparison."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.gpu.rates import copy_rate
from benchmarks.gpu.scale import Scale
from benchmarks.online.quantiles import quantile
from moshi_cluster.models.moshi_lm import Generator, Sampling
from moshi_cluster.models.moshi_lm.sizes import slot_size
from moshi_cluster.models.moshi_lm.static import buckets_for
from moshi_cluster.models.moshi_lm.static.step import StaticStep

_KINDS = ((torch.int8, "int8"), (torch.bfloat16, "bfloat16"))


class RunningSessions:
    """Sessions of a static step at chosen ages, whose windows hold zeros: what they hold costs no time."""

    def __init__(self, step: StaticStep, slots: Sequence[int], calls: Sequence[int]) -> None:
        self._step, config = step, step.config
        none = torch.empty(0, config.streams, dtype=torch.int64)
        for slot in slots:
            step.state.open(slot, Sampling(seed=slot), none)
        unknown = torch.full((len(slots), config.generated), -1)
        codes = torch.zeros(len(slots), config.user_codebooks, dtype=torch.int64)
        where = torch.tensor([slots, calls]).T
        self._rows = torch.cat((where, unknown, codes), dim=1).int()

    def launch(self) -> None:
        """Starts the next frame of every session."""
        self._step.launch(self._rows)
        self._rows[:, 1] += 1

    def finish(self) -> Tensor:
        return self._step.finish()

    def frame(self) -> tuple[float, float]:
        """One frame of every session: milliseconds until it is done, and until the host was free."""
        start_s = time.perf_counter()
        self.launch()
        launched_s = time.perf_counter()
        self.finish()
        return 1000 * (time.perf_counter() - start_s), 1000 * (launched_s - start_s)


def static_step(scale: Scale, kv_dtype: torch.dtype, most: int | None = None) -> StaticStep:
    """A static step for as many sessions as fit, in the worker's buckets."""
    slots = scale.slots_that_fit(kv_dtype, most or scale.batches[-1])
    return StaticStep(scale.lm, slots, kv_dtype=kv_dtype, buckets=buckets_for(slots))


def run(scale: Scale) -> None:
    """Per kind of keys and values: seconds to record, then the step by sessions and fill."""
    rate = copy_rate(scale)
    for kv_dtype, name in _KINDS:
        step = static_step(scale, kv_dtype)
        start_s = time.perf_counter()
        step.warm()
        scale.figure(f"{name}: recording {len(step.buckets)} buckets", time.perf_counter() - start_s, "s")
        for sessions in [sessions for sessions in scale.batches if sessions <= step.slots]:
            for fill in scale.fills:
                _measure(scale, step, sessions, fill, name, _floor_ms(scale, kv_dtype, sessions, fill, rate))
        if scale.device.type == "cuda":
            scale.figure(f"{name}: most memory", torch.cuda.max_memory_allocated(scale.device) / 1e9, "GB")
        del step


def run_eager(scale: Scale) -> None:
    """The plain generator's step on this device."""
    generator = Generator(scale.lm, scale.batches[1])
    slots = range(scale.batches[1])
    for slot in slots:
        generator.open(slot, Sampling(seed=slot))
        while generator.prefill(slot, 1):
            pass
    codes = torch.zeros(len(slots), scale.lm_config.user_codebooks, dtype=torch.int64)
    taken_ms = []
    for _ in range(scale.steps):
        start_s = time.perf_counter()
        generator.step(slots, codes)
        taken_ms.append(1000 * (time.perf_counter() - start_s))
    scale.figure(f"plain step, {len(slots)} fresh sessions, p50", quantile(taken_ms, 0.5), "ms")


def _measure(scale: Scale, step: StaticStep, sessions: int, fill: float, name: str, floor_ms: float) -> None:
    calls = [int(fill * scale.lm_config.context) + 1] * sessions
    running = RunningSessions(step, list(reversed(range(sessions))), calls)
    running.frame()
    taken = [running.frame() for _ in range(scale.steps)]
    whole_ms, host_ms = ([pair[i] for pair in taken] for i in (0, 1))
    label = f"{name}, {sessions} sessions, {fill:.0%} of the window"
    full = fill >= 1 and name == "int8"
    wanted = {64: "<= 1.5 x floor", 128: "<= 40 ms"}.get(sessions, "") if full else ""
    scale.figure(f"{label}: p50", quantile(whole_ms, 0.5), "ms", wanted)
    scale.figure(f"{label}: p99", quantile(whole_ms, 0.99), "ms")
    scale.figure(f"{label}: p50 / floor", quantile(whole_ms, 0.5) / floor_ms, "x")
    scale.figure(f"{label}: host until launched, p50", quantile(host_ms, 0.5), "ms")


def _floor_ms(scale: Scale, kv_dtype: torch.dtype, sessions: int, fill: float, rate: float) -> float:
    """Reading the weights, keys and values once, at the rate of a copy."""
    size = slot_size(scale.lm_config, None, kv_dtype)
    return 1000 * (scale.step_weight_bytes + sessions * fill * size.nbytes) / rate
