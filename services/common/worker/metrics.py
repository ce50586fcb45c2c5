"""The metrics of a worker's engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from moshi_cluster.services.common.metrics import LATENCY_BUCKETS_S, initialise
from moshi_cluster.services.common.worker.device_stats import DeviceStats, no_device
from moshi_cluster.services.common.worker.program import PrepareStats, StepStats
from moshi_cluster.services.common.worker.slots import SlotTable

PROGRAMS = {"codec": ("encode", "decode"), "lm": ("lm",)}
_BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


class EngineMetrics:
    """The metrics of a service with an engine; the engine hands over stats, only this class knows Prometheus."""

    def __init__(self, service: str, registry: CollectorRegistry) -> None:
        """service: "codec" or "lm", whose programs are shown from the start."""
        prefix = f"moshi_{service}"
        label = ("program",)
        self._add_steps(prefix, label, registry)
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
        for each in (self._queue_s, self._step_s, self._batch_size, self._prepare_s, self._misses, self._rejections):
            initialise(each, PROGRAMS[service])
        self._checkpoint = Gauge(
            f"{prefix}_checkpoint_info",
            "Always 1; the label is the fingerprint of what is loaded. Nothing while nothing is.",
            ("checkpoint",),
            registry=registry,
        )
        self._devices = DeviceCollector(prefix)
        registry.register(self._devices)

    def _add_steps(self, prefix: str, label: tuple[str], registry: CollectorRegistry) -> None:
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

    def loaded(self, checkpoint: str, device: Callable[[], DeviceStats | None]) -> None:
        """Takes what has been loaded, and what tells of the device it is on."""
        self._checkpoint.labels(checkpoint).set(1)
        self._devices.look = device

    def unloaded(self) -> None:
        """Takes that nothing is loaded any more, for now."""
        self._checkpoint.clear()

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


class DeviceCollector(Collector):
    """The accelerator that a model is on, as it is when Prometheus asks; on a CPU there is nothing to show."""

    def __init__(self, prefix: str) -> None:
        self.look: Callable[[], DeviceStats | None] = no_device
        """What tells of it."""
        self._prefix = prefix

    def collect(self) -> Iterator[Metric]:
        """Read when Prometheus asks."""
        labels = ("device", "name")
        total = self._family("gpu_memory_total_bytes", "Memory of the card.", labels)
        used = self._family("gpu_memory_used_bytes", "Memory of the card that is in use, by whomever.", labels)
        own = self._family("gpu_memory_own_bytes", "Memory that PyTorch holds for this process.", labels)
        busy = self._family("gpu_utilisation_ratio", "Share of time in which the card computes for anybody.", labels)
        if (stats := self.look()) is not None:
            where = (stats.device, stats.name)
            total.add_metric(where, stats.total_bytes)
            used.add_metric(where, stats.used_bytes)
            own.add_metric(where, stats.own_bytes)
            if stats.utilisation is not None:
                busy.add_metric(where, stats.utilisation)
        yield from (total, used, own, busy)

    def _family(self, name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{self._prefix}_{name}", text, labels=labels)
