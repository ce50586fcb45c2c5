"""Scenarios of a compose check: what is done to the containers while people talk, and what they may notice of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.cluster_check.errors import CheckFailed
from benchmarks.cluster_check.line import Line
from benchmarks.cluster_check.patience import until
from benchmarks.cluster_check.scenarios import Limits
from benchmarks.compose.containers import Containers

ONE = {"codec": 1, "lm": 1, "gateway": 1}
TWO = {"codec": 2, "lm": 2, "gateway": 1}
_CALLS_BEGIN_S = 8.0  # on a worker that has come: gateways look names up every few seconds
_LEFT_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Scenario:
    """One thing that happens to the containers."""

    summary: str
    happen: Callable[[Containers], Line]  # returns what is told beside the calls
    limits: Limits
    counts: Mapping[str, int]


def _scale_there_and_back(containers: Containers) -> Line:
    took_s = containers.up(**ONE | {"lm": 2})
    time.sleep(_CALLS_BEGIN_S)
    containers.start("--scale", "lm=1")
    until(lambda: len(containers.ids("lm")) == 1, _LEFT_TIMEOUT_S, "the second lm has ended")
    return Line(f"the second lm served after {took_s:.0f} s")


def _crash(service: str) -> Callable[[Containers], Line]:
    def happen(containers: Containers) -> Line:
        try:
            took_s = containers.crash(service)
        except CheckFailed as error:
            containers.up(**TWO)
            return Line(f"{error}; `docker compose up` started it", holds=False)
        return Line(f"the {service} served again after {took_s:.0f} s")

    return happen


def _kill(service: str) -> Callable[[Containers], Line]:
    def happen(containers: Containers) -> Line:
        containers.kill(service)
        time.sleep(_CALLS_BEGIN_S)
        took_s = containers.up(**TWO)
        return Line(f"after {_CALLS_BEGIN_S:.0f} s `docker compose up`, which took {took_s:.0f} s")

    return happen


SCENARIOS = {
    "scale-lm": Scenario("lm scaled 1, 2, 1", _scale_there_and_back, Limits(5.0), ONE),
    "crash-lm": Scenario("an lm's process crashes, two of each", _crash("lm"), Limits(3.0, 2.0), TWO),
    "crash-codec": Scenario("a codec's process crashes, two of each", _crash("codec"), Limits(3.0, 2.0), TWO),
    "kill-lm": Scenario("an lm's container is killed, two of each", _kill("lm"), Limits(3.0, 2.0), TWO),
}
