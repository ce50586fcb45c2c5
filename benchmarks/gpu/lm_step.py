"""The static step at Moshi's size: recording it, its time beside the floor, and the plain step for comparison."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.gpu.profile import kernels_ms
from benchmarks.gpu.rates import copy_rate
from benchmarks.gpu.scale import Scale, free_memory
from benchmarks.online.quantiles import quantile
from moshi_cluster.models.free_memory import free_bytes
from moshi_cluster.models.moshi_lm import Generator, Sampling
from moshi_cluster.models.moshi_lm.sizes import StepSize, slot_size
from moshi_cluster.models.moshi_lm.static import buckets_for
from moshi_cluster.models.moshi_lm.static.step import StaticStep

_KINDS = ((torch.int8, "int8"), (torch.bfloat16, "bfloat16"))


@dataclass(frozen=True)
class Taken:
    """Milliseconds of a step: all of it, until the host was free, on the device."""

    whole_ms: float
    host_ms: float
    device_ms: float


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
        self._on_device = step.rings[0].keys.is_cuda

    def launch(self) -> None:
        """Starts the next frame of every session."""
        self._step.launch(self._rows)
        self._rows[:, 1] += 1

    def finish(self) -> Tensor:
        return self._step.finish()

    def frame(self) -> Taken:
        """One frame of every session."""
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if self._on_device else []
        start_s = time.perf_counter()
        for event in events[:1]:
            event.record()
        self.launch()
        for event in events[1:]:
            event.record()
        launched_s = time.perf_counter()
        self.finish()
        whole_ms = 1000 * (time.perf_counter() - start_s)
        return Taken(whole_ms, 1000 * (launched_s - start_s), _between_ms(events) if events else whole_ms)


def static_step(scale: Scale, kv_dtype: torch.dtype, most: int | None = None, beside_codec: bool = False) -> StaticStep:
    """A static step for as many sessions as fit, in the worker's buckets."""
    slots = scale.slots_that_fit(kv_dtype, most or scale.batches[-1], beside_codec)
    return StaticStep(scale.lm, slots, kv_dtype=kv_dtype, buckets=buckets_for(slots))


def run(scale: Scale) -> None:
    """Per kind of keys and values: seconds to record, then the step by sessions and fill."""
    rate = copy_rate(scale)
    for kv_dtype, name in _KINDS:
        slots = scale.slots_that_fit(kv_dtype, scale.batches[-1])
        free = free_bytes(scale.device) or 0
        step = StaticStep(scale.lm, slots, kv_dtype=kv_dtype, buckets=buckets_for(slots))
        start_s = time.perf_counter()
        step.warm()
        scale.figure(f"{name}: recording {len(step.buckets)} buckets", time.perf_counter() - start_s, "s")
        _tell_memory(scale, step, name, free)
        for sessions in [sessions for sessions in scale.batches if sessions <= step.slots]:
            for fill in scale.fills:
                _measure(scale, step, sessions, fill, name, _floor_ms(scale, kv_dtype, sessions, fill, rate))
        del step


def run_eager(scale: Scale) -> None:
    """The plain generator's step on this device, and how many kernels it launches."""
    generator = Generator(scale.lm, scale.batches[1])
    for sessions in scale.batches[:2]:
        slots = range(sessions)
        for slot in slots:
            generator.close(slot)
            generator.open(slot, Sampling(seed=slot))
            while generator.prefill(slot, 1):
                pass
        codes = torch.zeros(sessions, scale.lm_config.user_codebooks, dtype=torch.int64)
        taken_ms = []
        for _ in range(scale.steps):
            start_s = time.perf_counter()
            generator.step(slots, codes)
            taken_ms.append(1000 * (time.perf_counter() - start_s))
        scale.figure(f"plain step, {sessions} fresh sessions: p50", quantile(taken_ms, 0.5), "ms")
    scale.figure(f"plain step, {sessions} fresh sessions", _launches(scale, generator, slots, codes), "launches")


def _launches(scale: Scale, generator: Generator, slots: Sequence[int], codes: Tensor) -> int:
    """Kernels of a step; on a CPU calls of operators."""
    taken_ms = kernels_ms(scale, lambda: generator.step(slots, codes))
    return sum(len(each) for each in taken_ms.values())


def _measure(scale: Scale, step: StaticStep, sessions: int, fill: float, name: str, floor_ms: float) -> None:
    running = at_fill(scale, step, sessions, fill)
    taken = [running.frame() for _ in range(scale.steps)]
    label = f"{name}, {sessions} sessions, {fill:.0%} of the window"
    p50_ms = quantile([each.whole_ms for each in taken], 0.5)
    scale.figure(f"{label}: p50", p50_ms, "ms")
    scale.figure(f"{label}: p99", quantile([each.whole_ms for each in taken], 0.99), "ms")
    scale.figure(f"{label}: p50 / floor", p50_ms / floor_ms, "x")
    scale.figure(f"{label}: on the device, p50", quantile([each.device_ms for each in taken], 0.5), "ms")
    scale.figure(f"{label}: host until launched, p50", quantile([each.host_ms for each in taken], 0.5), "ms")


def at_fill(scale: Scale, step: StaticStep, sessions: int, fill: float) -> RunningSessions:
    """Sessions whose windows are full to that share, one frame on."""
    context = scale.lm_config.context
    random = torch.Generator().manual_seed(sessions)
    # Full windows are in any lap; slots lie in any order.
    laps = torch.randint(context, 9 * context, (sessions,), generator=random).tolist()
    calls = laps if fill >= 1 else [int(fill * context) + 1] * sessions
    running = RunningSessions(step, torch.randperm(step.slots, generator=random)[:sessions].tolist(), calls)
    running.frame()
    return running


def _tell_memory(scale: Scale, step: StaticStep, name: str, free_before: int) -> None:
    """What is taken beside weights and rings: to hold the estimate of `StepSize` against."""
    rings = sum(tensor.nbytes for ring in step.rings for tensor in ring.tensors)
    free_memory()
    taken = free_before - (free_bytes(scale.device) or 0) - rings
    planned = StepSize(scale.lm_config, step.most_rows, step.context).nbytes
    scale.figure(f"{name}: memory of {step.slots} slots", rings / 1e9, "GB")
    scale.figure(f"{name}: memory of steps of up to {step.most_rows} rows", taken / 1e9, "GB")
    scale.figure(f"{name}: what is planned for them", planned / 1e9, "GB")


def _between_ms(events: Sequence[torch.cuda.Event]) -> float:
    before, after = events
    after.synchronize()
    return float(before.elapsed_time(after))


def _floor_ms(scale: Scale, kv_dtype: torch.dtype, sessions: int, fill: float, rate: float) -> float:
    """Reading the weights, keys and values once, at the rate of a copy."""
    size = slot_size(scale.lm_config, None, kv_dtype)
    return 1000 * (scale.step_weight_bytes + sessions * fill * size.nbytes) / rate
