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


PARTS = (  # what a verdict hangs on first, should the time run out
    Part("tests", 60, tests.run),
    Part("equalities", 65, checks.run),
    Part("static step", 60, lm_step.run),
    Part("calls", 50, calls.run),
    Part("join", 35, join.run),
    Part("upstream", 80, upstream.run),
    Part("codec", 30, codec.run),
    Part("attention", 40, attention.run),
    Part("kernels", 30, kernels.run),
    Part("plain step", 15, lm_step.run_eager),
    Part("rates", 15, rates.run),
)
MOST_SECONDS = 480
