"""Parts of the run on a GPU, in their order, with the seconds that each may take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.gpu import attention, calls, checks, codec, join, kernels, lm_step, rates, tests, upstream
from benchmarks.gpu.scale import Scale


@dataclass(frozen=True)
class Part:
    """A function of the scale, run in a process of its own."""

    name: str
    seconds: int
    run: Callable[[Scale], None]


PARTS = (
    Part("rates", 20, rates.run),
    Part("tests", 75, tests.run),
    Part("equalities", 70, checks.run),
    Part("attention", 45, attention.run),
    Part("static step", 65, lm_step.run),
    Part("plain step", 15, lm_step.run_eager),
    Part("upstream", 95, upstream.run),
    Part("codec", 40, codec.run),
    Part("calls", 45, calls.run),
    Part("join", 35, join.run),
    Part("kernels", 30, kernels.run),
)
MOST_SECONDS = 480
