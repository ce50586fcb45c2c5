"""Interleaved timing of contenders, on a machine that others use too."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


class Contender(Protocol):
    """One implementation with its sessions open."""

    def run(self, steps: int) -> list[float]:
        """Milliseconds of each of that many steps, after one that does not count."""

    def close(self) -> None:
        """Ends the sessions."""


@dataclass(frozen=True)
class Timings:
    """Milliseconds per step, by round."""

    rounds: Sequence[Sequence[float]]

    @property
    def median_ms(self) -> float:
        return self.quantile_ms(0.5)

    def quantile_ms(self, q: float) -> float:
        """Linear interpolation between the ordered samples of all rounds."""
        ordered = sorted(ms for one in self.rounds for ms in one)
        place = q * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def interleaved(contenders: Sequence[Contender], rounds: int, steps: int) -> list[Timings]:
    """A B A B: a neighbour's load that comes and goes meets every contender."""
    taken: list[list[list[float]]] = [[] for _ in contenders]
    for _ in range(rounds):
        for contender, times in zip(contenders, taken, strict=True):
            times.append(contender.run(steps))
    return [Timings(times) for times in taken]


def times_faster(ours: Timings, theirs: Timings) -> float:
    """Median over the rounds of the ratio of medians: the two of a round were measured moments apart."""
    pairs = zip(ours.rounds, theirs.rounds, strict=True)
    return statistics.median(statistics.median(b) / statistics.median(a) for a, b in pairs)


def timed_steps(step: Callable[[], object], steps: int, device: torch.device) -> list[float]:
    """Milliseconds of each of `steps` calls, after one that does not count."""
    taken = []
    for _ in range(steps + 1):
        start_s = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(1000 * (time.perf_counter() - start_s))
    return taken[1:]
