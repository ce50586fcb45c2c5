"""Parts of the run on a GPU, in their order, with the seconds that each may take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.gpu import attention, calls, checks, codec, lm_step, rates, upstream
from benchmarks.gpu.scale import Scale


@dataclass(frozen=True)
class Part:
    """A function of the scale, run in a process of its own."""

    name: str
    seconds: int
    run: Callable[[Scale], None]


PARTS = (
    Part("rates", 25, rates.run),
    Part("equalities", 75, checks.run),
    Part("attention", 35, attention.run),
    Part("static step", 75, lm_step.run),
    Part("plain step", 30, lm_step.run_eager),
    Part("upstream", 95, upstream.run),
    Part("codec", 45, codec.run),
    Part("calls", 60, calls.run),
    Part("join", 35, calls.run_join),
)
MOST_SECONDS = 480
