"""Where the time of a step goes: the kernels that take most of it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.gpu.codec import load
from benchmarks.gpu.lm_step import at_fill, static_step
from benchmarks.gpu.profile import kernels_ms
from benchmarks.gpu.scale import Scale
from moshi_cluster.models.device_step import buckets_up_to
from moshi_cluster.models.mimi.static import static_decoder, static_encoder

_STEPS, _KERNELS, _NAME_LENGTH = 3, 14, 80


def run(scale: Scale) -> None:
    """Of the codec's halves, then of the lm with full windows of 8 bits, by sessions."""
    mimi = load(scale)
    for sessions in scale.batches[1:]:
        encoder, decoder = (half(mimi, sessions, buckets_up_to(sessions)) for half in (static_encoder, static_decoder))
        encoder.warm()
        decoder.warm()
        pcm = 0.07 * torch.randn(sessions, mimi.config.frame_samples)
        codes = encoder.step(range(sessions), pcm)
        tell_kernels(scale, f"encode, {sessions} sessions", lambda: encoder.step(range(sessions), pcm))  # noqa: B023
        tell_kernels(scale, f"decode, {sessions} sessions", lambda: decoder.step(range(sessions), codes))  # noqa: B023
    step = static_step(scale, torch.int8)
    step.warm()
    for sessions in [sessions for sessions in scale.batches if sessions <= step.slots]:
        tell_kernels(scale, f"lm, {sessions} sessions", at_fill(scale, step, sessions, 1.0).frame)


def tell_kernels(scale: Scale, label: str, call: Callable[[], object]) -> None:
    """The kernels that take most of a call: how many of each, and their milliseconds together."""
    kernels = kernels_ms(scale, call, _STEPS)
    scale.figure(f"{label}: all kernels", sum(map(sum, kernels.values())) / _STEPS, "ms")
    for name, taken_ms in sorted(kernels.items(), key=lambda item: -sum(item[1]))[:_KERNELS]:
        scale.figure(f"{label}: {len(taken_ms) / _STEPS:g} x {name:.{_NAME_LENGTH}}", sum(taken_ms) / _STEPS, "ms")
