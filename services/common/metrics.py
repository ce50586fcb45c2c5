"""Prometheus metrics of every service: the buckets of their histograms, the endpoint that shows them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Histogram

from moshi_cluster.services.common.listening import open_listeners
from moshi_cluster.services.common.scrapes import ScrapeServer

# Dense where it matters: one frame is 80 ms, and a hop should be a small part of that.
LATENCY_BUCKETS_S = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0065, 0.008, 0.01, 0.0125, 0.015, 0.0175, 0.02, 0.025, 0.03),
    *(0.035, 0.04, 0.045, 0.05, 0.055, 0.06, 0.065, 0.07, 0.075, 0.08, 0.085, 0.09, 0.1, 0.12, 0.16, 0.24),
    *(0.5, 1, 2, 5),
)


def log_lines_dropped(service: str, registry: CollectorRegistry) -> Callable[[str], None]:
    """Counts a line that was not logged, by why: `full`, `failed` or `repeated`."""
    dropped = Counter(
        f"moshi_{service}_log_lines_dropped",
        "Lines that were not logged: nobody read fast enough, the disk or pipe took no more, too many of a kind.",
        ("reason",),
        registry=registry,
    )
    initialise(dropped, ("full", "failed", "repeated"))
    return lambda reason: dropped.labels(reason).inc()


def initialise(metric: Counter | Histogram, *values: Iterable[str]) -> None:
    """Shows a metric for all of its labels' values from the start: what appears with its first event has no rate yet.

    values: of each label, in order; every combination is shown.
    """
    for labels in itertools.product(*values):
        metric.labels(*labels)


class MetricsEndpoint:
    """Prometheus /metrics over HTTP on a port of its own, for as long as the context lasts.

    It has a thread with a loop of its own: it answers also while the process's event loop stands still.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, prefix: str = "") -> None:
        """port: 0 picks a free one, see `port` once entered. prefix: of the settings, for an error's message."""
        self._host = host
        self._prefix = prefix
        self._server = ScrapeServer(registry)
        self.port = port

    def __enter__(self) -> MetricsEndpoint:
        """Raises SettingError when the port cannot be had."""
        listeners = open_listeners(self._host, self.port, self._prefix, "metrics_port")
        self.port = listeners[0].getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._serving = self._loop.create_task(self._server.run(listeners))
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(self._loop), contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serving)
