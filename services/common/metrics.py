"""Prometheus metrics of every service: the buckets of their histograms, the endpoint that shows them."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, start_http_server

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
    return lambda reason: dropped.labels(reason).inc()


class MetricsEndpoint:
    """Prometheus /metrics over HTTP on a port of its own, for as long as the context lasts."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        """port: 0 picks a free one, see `port` once entered."""
        self._host = host
        self._registry = registry
        self.port = port

    def __enter__(self) -> MetricsEndpoint:
        self._server, self._thread = start_http_server(self.port, self._host, self._registry)
        self.port = self._server.server_port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
