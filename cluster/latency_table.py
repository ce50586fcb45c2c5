"""A table of latency quantiles, from the Prometheus histograms of the services."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from moshi_cluster.cluster.direct_http import open_direct

_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Histogram:
    """Cumulative counts by upper bound, as Prometheus has them."""

    bounds: Sequence[float]  # ascending, the last is infinite
    counts: Sequence[float]

    @property
    def count(self) -> int:
        """Number of observations."""
        return int(self.counts[-1]) if self.counts else 0

    def quantile(self, q: float) -> float:
        """The q-quantile by linear interpolation inside its bucket (Prometheus' histogram_quantile); nan if empty."""
        rank = q * self.count
        if self.count == 0:
            return math.nan
        index = next(i for i, count in enumerate(self.counts) if count >= rank)
        low_bound, low_count = (self.bounds[index - 1], self.counts[index - 1]) if index else (0.0, 0.0)
        if math.isinf(self.bounds[index]):
            return low_bound
        share = (rank - low_count) / (self.counts[index] - low_count) if self.counts[index] > low_count else 1.0
        return low_bound + share * (self.bounds[index] - low_bound)


def scrape(url: str) -> str:
    """The text behind a /metrics address. Raises OSError."""
    with open_direct(url, _TIMEOUT_S) as answer:
        text: str = answer.read().decode()
    return text


def histograms(metrics: str, name: str, label: str) -> dict[str, Histogram]:
    """The histograms of one family by the value of one label, from a scraped text."""
    buckets: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == f"{name}_bucket":
                buckets[sample.labels.get(label, "")].append((float(sample.labels["le"]), sample.value))
    return {
        value: Histogram([bound for bound, _ in sorted(pairs)], [count for _, count in sorted(pairs)])
        for value, pairs in buckets.items()
    }


def table(rows: Sequence[tuple[str, Histogram]]) -> str:
    """Lines of name, p50, p99 in milliseconds, and the number of observations."""
    width = max([len("hop"), *(len(name) for name, _ in rows)])
    lines = [f"{'hop':<{width}}  {'p50 ms':>8}  {'p99 ms':>8}  {'frames':>7}"]
    for name, histogram in rows:
        p50, p99 = (f"{1000 * histogram.quantile(q):.1f}" for q in (0.5, 0.99))
        lines.append(f"{name:<{width}}  {p50:>8}  {p99:>8}  {histogram.count:>7}")
    return "\n".join(lines)
