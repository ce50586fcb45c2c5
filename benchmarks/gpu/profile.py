"""Kernels that a call launches, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.gpu.scale import Scale


def kernels_ms(scale: Scale, call: Callable[[], object], times: int = 1) -> dict[str, list[float]]:
    """Milliseconds of every kernel of so many calls; on a CPU of every call of an operator."""
    on_device = scale.device.type == "cuda"
    activity = torch.profiler.ProfilerActivity.CUDA if on_device else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity]) as profile:
        for _ in range(times):
            call()
        scale.synchronise()
    found: dict[str, list[float]] = {}
    for event in profile.events():
        if event.device_type.name == activity.name:
            found.setdefault(event.name, []).append(event.time_range.elapsed_us() / 1000)
    return found
