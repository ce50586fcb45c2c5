"""Steps of a scenario: what is done to which process, and how long a silence it may cost."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from benchmarks.survive.supervisor import Supervisor, service_of

_FROZEN_S = 5.0
LOST_GAP_S = 1.0
"""The longest silence when a process is gone."""
HANDED_OVER_GAP_S = 0.16
"""The longest silence when a worker has said before that it stops: two frames."""


@dataclass(frozen=True)
class Fault:
    """Something that happens to a process."""

    verb: str
    hurt: Callable[[Supervisor, str], Awaitable[None]]
    """Does it, and returns when everything serves again."""
    worker_gap_s: float
    gateway_gap_s: float = LOST_GAP_S

    def gap_limit_s(self, service: str) -> float:
        """The longest silence that a caller may hear."""
        return self.gateway_gap_s if service == "gateway" else self.worker_gap_s


FAULTS: Mapping[str, Fault] = {
    "kill": Fault("kill -9", Supervisor.kill, LOST_GAP_S),
    "freeze": Fault("freeze", lambda supervisor, name: supervisor.freeze(name, _FROZEN_S), 2 * LOST_GAP_S),
    "restart": Fault("restart", Supervisor.restart, HANDED_OVER_GAP_S),
}


@dataclass(frozen=True)
class Step:
    """One fault of one process."""

    fault: str  # one of FAULTS
    process: str  # as in `lm-0`

    @property
    def name(self) -> str:
        """How its row is called."""
        return f"{FAULTS[self.fault].verb} {self.process}"

    @property
    def service(self) -> str:
        """What the process runs."""
        return service_of(self.process)

    @property
    def gap_limit_s(self) -> float:
        """The longest silence that a caller may hear."""
        return FAULTS[self.fault].gap_limit_s(self.service)


@dataclass(frozen=True)
class Window:
    """The time from one step to the next, or the calm before the first. Seconds on the driver's monotonic clock."""

    begin_s: float = -math.inf
    end_s: float = math.inf
    step: Step | None = None
    on_it: int = 0  # sessions or calls of the process, when it was hurt
    whole_after_s: float = 0.0  # until everything served again
    others_cores: float = 0.0  # that programs used which are not part of the run

    def holds(self, at_s: float) -> bool:
        """Whether this moment belongs to it."""
        return self.begin_s <= at_s < self.end_s


async def take(supervisor: Supervisor, step: Step, until_s: float, after_s: float) -> Window:
    """Takes a step. Ends at `until_s` and at least `after_s` after everything serves again.

    Raises ClusterError when the process does not come back.
    """
    on_it = await supervisor.sessions_on(step.process)
    begin_s, used_s = time.monotonic(), supervisor.others_cpu_s()
    await FAULTS[step.fault].hurt(supervisor, step.process)
    whole_s = time.monotonic()
    await asyncio.sleep(max(after_s, until_s - whole_s))
    return _window(supervisor, begin_s, used_s, step, on_it, whole_s - begin_s)


async def calm(supervisor: Supervisor, seconds: float) -> Window:
    """Nothing happens."""
    begin_s, used_s = time.monotonic(), supervisor.others_cpu_s()
    await asyncio.sleep(seconds)
    return _window(supervisor, begin_s, used_s)


def _window(
    supervisor: Supervisor,
    begin_s: float,
    used_s: float,
    step: Step | None = None,
    on_it: int = 0,
    whole_after_s: float = 0.0,
) -> Window:
    """From `begin_s` until now. used_s: what others had used of the cores when it began."""
    end_s = time.monotonic()
    cores = max(0.0, supervisor.others_cpu_s() - used_s) / (end_s - begin_s)
    return Window(begin_s, end_s, step, on_it, whole_after_s, cores)
