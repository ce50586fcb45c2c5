"""Random faults, one every 20 s for as long as wanted, while callers come and go."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.columns import columns
from benchmarks.online.processes import ProcessWatch
from benchmarks.survive.conversation import Voice
from benchmarks.survive.heard import HeardCall
from benchmarks.survive.outcome import Judge, Outcome
from benchmarks.survive.run import Pace
from benchmarks.survive.scenarios import random_steps
from benchmarks.survive.stage import Stage
from benchmarks.survive.steps import FAULTS, calm, take
from benchmarks.survive.supervisor import Supervisor
from benchmarks.survive.verdict import line

RANDOM = "random"
_PERIOD_S = 20.0
_AFTER_S = 1.0  # where a process took all of that to come back
_SLOTS_PATIENCE_S = 10.0
_LOOK_PERIOD_S = 10.0
_MEMORY_COLUMNS = 8


@dataclass
class RandomRun:
    """What happened."""

    outcomes: list[Outcome] = field(default_factory=list)  # one for each fault
    calls: int = 0
    leaked_slots: int = 0
    begin_s: float = field(default_factory=time.monotonic)

    def by_kind(self) -> list[Outcome]:
        """One for each kind of fault, named with how often it happened."""
        kinds: dict[str, Outcome] = {}
        times: Counter[str] = Counter()
        for one in self.outcomes:
            kind = _kind(one)
            times[kind] += 1
            kinds[kind] = kinds[kind].with_another(one) if kind in kinds else one
        return [replace(one, name=f"{times[kind]} x {kind}") for kind, one in sorted(kinds.items())]


async def run_random(
    supervisor: Supervisor,
    voices: Sequence[Voice],
    undisturbed: Mapping[int, HeardCall],
    seed: int,
    minutes: float,
    watch: ProcessWatch,
    report: Callable[[str], None],
) -> RandomRun:
    """The same seed gives the same faults and calls. Raises ClusterError when a process does not come back.

    watch: told about memory. report: told what every fault did.
    """
    random_run = RandomRun()
    looking = asyncio.create_task(_look(watch))
    try:
        async with Stage(supervisor, voices, Pace().jitter_allowance_ms, resumes=True) as stage:
            stage.come_and_go(seed)
            judge = Judge(stage.conversations, await calm(supervisor, _PERIOD_S), undisturbed)
            for step in random_steps(seed):
                if time.monotonic() > random_run.begin_s + minutes * 60:
                    break
                window = await take(supervisor, step, time.monotonic() + _PERIOD_S, _AFTER_S)
                random_run.outcomes.append(judge.outcome(RANDOM, window))
                report(f"{window.begin_s - random_run.begin_s:.0f} s, {line(random_run.outcomes[-1])}")
                stage.forget_before(window.end_s)
        random_run.leaked_slots = await supervisor.leaked_slots(_SLOTS_PATIENCE_S)
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
    random_run.calls = stage.calls_made
    return random_run


def memory_over_time(watch: ProcessWatch) -> str:
    """The largest resident memory of each process in each part of the run."""
    count = len(watch.sampled_s)
    bounds = [count * index // _MEMORY_COLUMNS for index in range(_MEMORY_COLUMNS + 1)]
    parts = [(begin, end) for begin, end in zip(bounds, bounds[1:], strict=False) if begin < end]
    minutes = [(watch.sampled_s[end - 1] - watch.sampled_s[0]) / 60 for _, end in parts]
    rows = [
        [name, *(f"{max(sizes[begin:end]) / 2**20:.0f}" for begin, end in parts)]
        for name, sizes in watch.resident_bytes.items()
    ]
    return columns([["MB, most until minute", *(f"{each:.0f}" for each in minutes)], *rows])


async def _look(watch: ProcessWatch) -> None:
    while True:
        watch.sample()
        await asyncio.sleep(_LOOK_PERIOD_S)


def _kind(outcome: Outcome) -> str:
    step = outcome.step
    return f"{FAULTS[step.fault].verb} {step.service}" if step else ""
