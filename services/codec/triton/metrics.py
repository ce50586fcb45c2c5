"""Triton's own account of the models, as this worker's metrics."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from moshi_cluster.services.codec.triton.contract import ModelStats
from moshi_cluster.services.common.metrics import initialise
from moshi_cluster.services.common.worker.metrics import PROGRAMS


class TritonMetrics:
    """Counters that follow Triton's statistics. They are of the models: all clients of that Triton together."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str) -> Counter:
            made = Counter(f"moshi_codec_triton_{name}", text, ("program",), registry=registry)
            initialise(made, PROGRAMS["codec"])
            return made

        self._requests = counter("requests", "Frames that Triton has answered.")
        self._failures = counter("failures", "Frames that Triton has refused.")
        self._queue_s = counter("queue_seconds", "Time that frames waited in Triton for their step.")
        self._compute_s = counter("compute_seconds", "Time that frames spent in the model; a step counts for each.")
        self._ready = Gauge("moshi_codec_triton_ready", "Whether Triton is within reach and ready.", registry=registry)
        self._seen: dict[str, ModelStats] = {}

    def observe(self, stats: Mapping[str, ModelStats]) -> None:
        """Takes both models' statistics, by program."""
        for program, now in stats.items():
            before = self._seen.get(program)
            if before is None or now.requests < before.requests:  # the first look, or it was loaded anew
                before = now if before is None else ModelStats(0, 0, 0.0, 0.0)
            self._requests.labels(program).inc(now.requests - before.requests)
            self._failures.labels(program).inc(max(0, now.failures - before.failures))
            self._queue_s.labels(program).inc(max(0.0, now.queue_s - before.queue_s))
            self._compute_s.labels(program).inc(max(0.0, now.compute_s - before.compute_s))
            self._seen[program] = now

    def ready(self, ready: bool) -> None:
        """Notes whether calls can be placed."""
        self._ready.set(ready)
