"""Latency per hop over a run: the growth of the services' own histograms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

from moshi_cluster.cluster.latency_table import Histogram

# Family -> (label that tells histograms apart, how its rows are called).
_FAMILIES = {
    "moshi_gateway_hop_seconds": ("hop", "{}"),
    "moshi_gateway_setup_seconds": ("", "setup"),
    "moshi_codec_queue_seconds": ("program", "codec {} queue"),
    "moshi_codec_step_seconds": ("program", "codec {} step"),
    "moshi_lm_queue_seconds": ("program", "{} queue"),
    "moshi_lm_step_seconds": ("program", "{} step"),
}

Buckets = Mapping[str, Mapping[float, float]]  # row -> upper bound -> cumulative count


def read_buckets(scraped: Iterable[str]) -> Buckets:
    """The histograms of the texts of several /metrics endpoints; workers of the same kind are added up."""
    rows: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for text in scraped:
        for family in text_string_to_metric_families(text):
            if family.name not in _FAMILIES:
                continue
            label, title = _FAMILIES[family.name]
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    row = title.format(sample.labels.get(label, ""))
                    rows[row][float(sample.labels["le"])] += sample.value
    return rows


def growth(before: Buckets, after: Buckets) -> dict[str, Histogram]:
    """What was observed between two readings; rows in which nothing was are left out."""
    grown = {}
    for row, buckets in after.items():
        bounds = sorted(buckets)
        counts = [buckets[bound] - before.get(row, {}).get(bound, 0.0) for bound in bounds]
        if counts and counts[-1] > 0:
            grown[row] = Histogram(bounds, counts)
    return grown


def in_order(rows: Iterable[str]) -> Sequence[str]:
    """Along a frame's way, the services' own accounts behind."""
    way = ["edge_in", "encode", "lm", "decode", "edge_out", "turnaround", "setup"]
    return sorted(rows, key=lambda row: (way.index(row) if row in way else len(way), row))
