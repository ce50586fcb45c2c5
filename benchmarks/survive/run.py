"""Run of a scenario: people talk, something happens, they talk on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.online.processes import resident_bytes
from benchmarks.survive.conversation import Conversation, Voice
from benchmarks.survive.heard import HeardCall
from benchmarks.survive.scenarios import Scenario
from benchmarks.survive.stage import Stage
from benchmarks.survive.steps import Window, calm, take
from benchmarks.survive.supervisor import Supervisor

_SETTLE_S = 2.0
_BESIDE_A_CROWD = 2
_SLOTS_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Pace:
    """How long the parts of a run are."""

    calm_s: float = 6.0  # before the first step
    after_s: float = 4.0  # behind each step, once everything serves again
    undisturbed_s: float = 40.0  # where nothing happens
    jitter_allowance_ms: int = 2000  # of all calls: frames that were filled in are not compared


@dataclass(frozen=True)
class Run:
    """What happened."""

    scenario: str
    conversations: Sequence[Conversation]
    windows: Sequence[Window]  # the calm one first
    leaked_slots: int
    resident_bytes: Mapping[str, int]  # of each process, at the end

    def first_calls(self) -> dict[int, HeardCall]:
        """The call that began each conversation, by the number of its voice."""
        return {one.voice.number: one.first for one in self.conversations}


async def run(
    supervisor: Supervisor,
    name: str,
    scenario: Scenario,
    voices: Sequence[Voice],
    pace: Pace,
    report: Callable[[str], None],
) -> Run:
    """The scenario called `name`. Raises ClusterError when a process does not come back.

    report: told what happens.
    """
    async with Stage(supervisor, voices, pace.jitter_allowance_ms, scenario.resumes) as stage:
        await _gather(supervisor, stage, scenario, voices)
        windows = [await calm(supervisor, pace.calm_s if scenario.steps else pace.undisturbed_s)]
        if scenario.newcomers:
            stage.newcomers()
        for step in scenario.steps:
            report(f"{name}: {step.name}")
            windows.append(await take(supervisor, step, 0.0, pace.after_s))
    windows[-1] = replace(windows[-1], end_s=time.monotonic())  # with what came until all had hung up
    leaked = await supervisor.leaked_slots(_SLOTS_PATIENCE_S)
    memory = {name: resident_bytes(process_id) for name, process_id in supervisor.process_ids.items()}
    return Run(name, stage.conversations, windows, leaked, memory)


async def _gather(supervisor: Supervisor, stage: Stage, scenario: Scenario, voices: Sequence[Voice]) -> None:
    """The callers join; a crowd does while the worker's twin is away."""
    if scenario.crowd:
        crowded = scenario.steps[0]
        twins = [name for name in supervisor.of(crowded.service) if name != crowded.process]
        async with supervisor.without(twins):
            await stage.join([voices[number % len(voices)] for number in range(scenario.crowd)])
        await stage.join(voices[:_BESIDE_A_CROWD])
    else:
        await stage.join(voices)
    await asyncio.sleep(_SETTLE_S)
