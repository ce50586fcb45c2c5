"""Profile by operator: where the time of a step goes by kind of torch operator, whatever part of the model calls it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch

_KINDS = [
    ("products", ("linear", "addmm", "mm", "matmul", "conv")),
    ("attention", ("attention", "softmax")),
    ("choosing", ("topk", "sort", "kthvalue", "argmax", "amin", "amax")),
    ("copies and indexing", ("copy", "index", "gather", "scatter", "cat", "embedding", "stack", "to", "contiguous")),
    ("views", ("view", "reshape", "slice", "select", "transpose", "strided", "split", "unbind", "expand", "squeeze")),
]
_OTHER = "elementwise and other"


@dataclass(frozen=True)
class OperatorTime:
    """Operators of one kind in one step."""

    calls: float
    ms: float  # spent in the operators themselves, not in those they call


def operators(step: Callable[[], object], steps: int) -> dict[str, OperatorTime]:
    """By kind. The profiler's own cost is in the times: shares are good, sums are too large."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profile:
        for _ in range(steps):
            step()
    calls: dict[str, float] = defaultdict(float)
    taken_ms: dict[str, float] = defaultdict(float)
    for event in profile.key_averages():
        kind = _kind(event.key)
        calls[kind] += event.count / steps
        taken_ms[kind] += event.self_cpu_time_total / 1000 / steps
    return {kind: OperatorTime(calls[kind], taken_ms[kind]) for kind in [*(name for name, _ in _KINDS), _OTHER]}


def _kind(operator: str) -> str:
    name = operator.rpartition("::")[2].strip("_")
    return next((kind for kind, words in _KINDS if any(word in name for word in words)), _OTHER)
