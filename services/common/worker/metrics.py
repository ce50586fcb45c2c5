"""The metrics of a worker's engine."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from moshi_cluster.services.common.metrics import LATENCY_BUCKETS_S
from moshi_cluster.services.common.worker.program import PrepareStats, StepStats
from moshi_cluster.services.common.worker.slots import SlotTable

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
