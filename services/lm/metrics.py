"""The metrics of the lm beside those of its engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from moshi_cluster.services.common.worker.metrics import EngineMetrics


class PromptCacheStats(Protocol):
    """What the prompt cache counts."""

    hits: int
    misses: int
    nbytes: int


class LmMetrics(EngineMetrics):
    """The engine's, and the prompt cache's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__("lm", registry)
        self.prompt_cache: PromptCacheStats | None = None
        """Set once the model is loaded."""
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Read when Prometheus asks."""
        lookups = CounterMetricFamily(
            "moshi_lm_prompt_cache_lookups",
            "Prompts that sessions opened with, by whether they were kept.",
            None,
            ["kept"],
        )
        kept = GaugeMetricFamily("moshi_lm_prompt_cache_bytes", "Memory of the prompts that are kept.")
        cache = self.prompt_cache
        lookups.add_metric(["yes"], cache.hits if cache else 0)
        lookups.add_metric(["no"], cache.misses if cache else 0)
        kept.add_metric([], cache.nbytes if cache else 0)
        yield lookups
        yield kept
