"""What every service's metrics share: buckets, the engine's metrics, the /metrics endpoint."""

from __future__ import annotations

from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from moshi_cluster.services.common.worker.program import PrepareStats, StepStats
from moshi_cluster.services.common.worker.slots import SlotTable

# Dense where it matters: one frame is 80 ms, and a hop should be a small part of that.
LATENCY_BUCKETS_S = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0065, 0.008, 0.01, 0.0125, 0.015, 0.0175, 0.02, 0.025, 0.03),
    *(
        0.035,
        0.04,
        0.045,
        0.05,
        0.055,
        0.06,
        0.065,
        0.07,
        0.075,
        0.08,
        0.085,
        0.09,
        0.1,
        0.12,
        0.16,
        0.24,
        0.5,
        1,
        2,
        5,
    ),
)
_BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


class EngineMetrics:
    """The metrics of a service with an engine; the engine hands over stats, only this class knows Prometheus."""

    def __init__(self, service: str, registry: CollectorRegistry) -> None:
        prefix = f"moshi_{service}"
        label = ("program",)
        self._queue_s = Histogram(
            f"{prefix}_queue_seconds",
            "Time a frame waited for the step that took it.",
            label,
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._step_s = Histogram(
            f"{prefix}_step_seconds",
            "Length of one step of the batch.",
            label,
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._batch_size = Histogram(
            f"{prefix}_batch_size", "Sessions in one step.", label, buckets=_BATCH_BUCKETS, registry=registry
        )
        self._prepare_s = Histogram(
            f"{prefix}_prepare_seconds",
            "Length of one piece of opening work (prefill, priming) between steps.",
            label,
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._misses = Counter(
            f"{prefix}_deadline_misses",
            "Frames whose answer was ready more than 80 ms after their arrival.",
            label,
            registry=registry,
        )
        self._slots = Gauge(f"{prefix}_slots", "Sessions this worker can hold.", label, registry=registry)
        self._slots_used = Gauge(f"{prefix}_slots_used", "Sessions this worker holds.", label, registry=registry)
        self._rejections = Counter(
            f"{prefix}_rejections",
            "Streams refused because no slot was free, or the worker was loading or draining.",
            label,
            registry=registry,
        )

    def observe(self, stats: StepStats | PrepareStats) -> None:
        """Takes the engine's account of one step."""
        if isinstance(stats, PrepareStats):
            self._prepare_s.labels(stats.program).observe(stats.prepare_s)
            return
        self._step_s.labels(stats.program).observe(stats.step_s)
        self._batch_size.labels(stats.program).observe(len(stats.queue_s))
        self._misses.labels(stats.program).inc(stats.deadline_misses)
        queue_s = self._queue_s.labels(stats.program)
        for waited_s in stats.queue_s:
            queue_s.observe(waited_s)

    def observe_slots(self, tables: list[SlotTable]) -> None:
        """Takes the slot tables' state after a change."""
        for table in tables:
            self._slots.labels(table.name).set(table.total)
            self._slots_used.labels(table.name).set(table.used)

    def rejected(self, program: str) -> None:
        """Counts a stream that was refused."""
        self._rejections.labels(program).inc()


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
