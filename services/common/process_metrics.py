"""What every service shows of its process: what it runs, its state, its event loop."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import time
from typing import Literal, NoReturn, get_args

from prometheus_client import CollectorRegistry, Gauge, GCCollector, Histogram, ProcessCollector

from moshi_cluster.services.common.metrics import LATENCY_BUCKETS_S

State = Literal["loading", "serving", "away", "draining", "failed"]
STATES: tuple[State, ...] = get_args(State)
REVISION_VARIABLE = "MOSHI_REVISION"
"""Set in images: the commit that they were built from."""
_LOOP_LOOK_S = 0.1


class ProcessMetrics:
    """The metrics of a process, beside those that the client library has for every one (`process_*`)."""

    def __init__(self, service: str, registry: CollectorRegistry) -> None:
        prefix = f"moshi_{service}"
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        build = Gauge(
            f"{prefix}_build_info",
            "Always 1; the labels say what runs here.",
            ("version", "revision", "python"),
            registry=registry,
        )
        build.labels(_version(), os.environ.get(REVISION_VARIABLE) or "unknown", platform.python_version()).set(1)
        self._state = Gauge(f"{prefix}_state", "1 for the state that the process is in.", ("state",), registry=registry)
        self._drain_ends_s = Gauge(
            f"{prefix}_drain_ends_timestamp_seconds",
            "When the grace of a drain is over, in Unix time; 0 while the process does not drain.",
            registry=registry,
        )
        self._loop_lag_s = Histogram(
            f"{prefix}_loop_lag_seconds",
            "How late the event loop was for what was due, looked at ten times a second.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.state("loading")

    def state(self, now: State) -> None:
        """Takes the state that the process is in from now on."""
        for state in STATES:
            self._state.labels(state).set(state == now)

    def draining(self, grace_s: float) -> None:
        """Takes that the process drains, and for how long at most."""
        self.state("draining")
        self._drain_ends_s.set(time.time() + grace_s)

    async def watch_loop(self, look_s: float = _LOOP_LOOK_S) -> NoReturn:
        """Looks until cancelled how late the event loop is."""
        while True:
            due_s = time.monotonic() + look_s  # a loop's own clock stands still within a turn
            await asyncio.sleep(look_s)
            self._loop_lag_s.observe(max(0.0, time.monotonic() - due_s))


def _version() -> str:
    try:
        return importlib.metadata.version("moshi-cluster")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
