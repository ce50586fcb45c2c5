"""Scenarios: what happens to a cluster of two processes of each kind while people talk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.survive.steps import FAULTS, Step

UNDISTURBED = "undisturbed"
_SERVICES = ("lm", "codec", "gateway")
_CROWD = 16


@dataclass(frozen=True)
class Scenario:
    """A run of its own."""

    summary: str
    steps: Sequence[Step] = ()
    newcomers: bool = True
    """People call all the time, beside those whose calls are meant to survive."""
    resumes: bool = False
    """A gateway is hurt: callers who lose their call call again."""
    crowd: int = 0
    """Callers on the first step's worker alone, and a few on its twin. 0: all callers spread as they come."""


SCENARIOS: Mapping[str, Scenario] = {
    UNDISTURBED: Scenario("nothing happens: what the others are compared with", newcomers=False),
    "kill-lm": Scenario("kill -9 of an lm worker", [Step("kill", "lm-0")]),
    "kill-codec": Scenario("kill -9 of a codec worker", [Step("kill", "codec-0")]),
    "freeze-lm": Scenario("SIGSTOP of an lm worker, SIGCONT after five seconds", [Step("freeze", "lm-0")]),
    "freeze-codec": Scenario("SIGSTOP of a codec worker, SIGCONT after five seconds", [Step("freeze", "codec-0")]),
    "rolling": Scenario(
        "SIGTERM of everything, one after the other",
        [Step("restart", f"{service}-{index}") for service in _SERVICES for index in (0, 1)],
        resumes=True,
    ),
    "kill-gateway": Scenario(
        "kill -9 of a gateway; its callers go on on the other", [Step("kill", "gateway-0")], resumes=True
    ),
    "mass": Scenario(
        f"kill -9 of an lm worker with {_CROWD} calls beside others",
        [Step("kill", "lm-0")],
        newcomers=False,
        crowd=_CROWD,
    ),
}


def random_steps(seed: int) -> Iterator[Step]:
    """Faults of any kind of any process, without end; a gateway that stands still is noticed by clients only, so it is
    left out.
    """
    random = np.random.default_rng(seed)
    kinds = [
        Step(fault, f"{service}-{index}")
        for fault in FAULTS
        for service in _SERVICES
        for index in (0, 1)
        if (fault, service) != ("freeze", "gateway")
    ]
    while True:
        yield kinds[random.integers(len(kinds))]
