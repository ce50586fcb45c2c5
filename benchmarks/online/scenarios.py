"""Scenarios of who calls when: each turns a size into a list of calls, with nothing of the wire in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moshi_cluster.audio.frame import FRAME_S

_JOIN_SPREAD_S = 1.0  # callers of a steady run are out of step with each other, as people are
_SOAK_CALL_S = (5.0, 60.0)
_SOAK_PAUSE_S = 2.0


@dataclass(frozen=True)
class Size:
    """How large a run is."""

    callers: int
    seconds: float
    seed: int
    step_s: float  # ramp: one more caller each time


@dataclass(frozen=True)
class PlannedCall:
    """One call of one caller."""

    caller: int
    start_s: float  # from the start of the run
    frames: int  # that the caller means to say, 80 ms each
    joins_in_burst: bool = False


@dataclass(frozen=True)
class Scenario:
    """A named way to load a cluster."""

    summary: str
    plan: Callable[[Size], Sequence[PlannedCall]]
    stops_at_limits: bool = False  # the run ends when callers are refused or answered late
    slots_per_caller: float = 1.0  # of a cluster started for the run


def _frames(seconds: float) -> int:
    return max(1, round(seconds / FRAME_S))


def _steady(size: Size) -> list[PlannedCall]:
    joins_s = np.random.default_rng(size.seed).uniform(0, min(_JOIN_SPREAD_S, size.seconds / 2), size.callers)
    return [PlannedCall(caller, start_s, _frames(size.seconds)) for caller, start_s in enumerate(joins_s.tolist())]


def _ramp(size: Size) -> list[PlannedCall]:
    end_s = size.callers * size.step_s
    # A fraction of a frame more than the step, so that callers are out of step with each other.
    spread_s = np.random.default_rng(size.seed).uniform(0, FRAME_S, size.callers).tolist()
    starts_s = [caller * size.step_s + spread_s[caller] for caller in range(size.callers)]
    return [PlannedCall(caller, start_s, _frames(end_s - start_s)) for caller, start_s in enumerate(starts_s)]


def _soak(size: Size) -> list[PlannedCall]:
    calls = []
    for caller in range(size.callers):
        random = np.random.default_rng((size.seed, caller))
        start_s = float(random.uniform(0, _SOAK_PAUSE_S))
        while start_s < size.seconds:
            wanted_s = min(float(random.uniform(*_SOAK_CALL_S)), size.seconds - start_s)
            calls.append(PlannedCall(caller, start_s, _frames(wanted_s)))
            start_s += wanted_s + float(random.exponential(_SOAK_PAUSE_S)) + 0.5
    return sorted(calls, key=lambda call: call.start_s)


def _burst_join(size: Size) -> list[PlannedCall]:
    running = size.callers // 2
    calls = _steady(Size(running, size.seconds, size.seed, size.step_s))
    join_s = size.seconds / 2
    late = [
        PlannedCall(caller, join_s, _frames(size.seconds - join_s), joins_in_burst=True)
        for caller in range(running, size.callers)
    ]
    return calls + late


SCENARIOS: dict[str, Scenario] = {
    "steady": Scenario("callers who all talk for the whole run", _steady),
    "ramp": Scenario("one more caller every step, until one is refused or limits break", _ramp, stops_at_limits=True),
    "soak": Scenario("callers who come and go at random", _soak),
    "burst-join": Scenario("half of the callers join all at once in the middle of the others' calls", _burst_join),
    "over-capacity": Scenario(
        "twice as many callers as slots; who is refused stays in the denominators", _steady, slots_per_caller=0.5
    ),
}
