"""Cluster under load: one that is there, or one started for the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from moshi_cluster.cluster.latency_table import scrape
from moshi_cluster.cluster.running_cluster import running_cluster


@dataclass(frozen=True)
class Cluster:
    """Where callers call, and what can be seen of the services."""

    target: str  # host:port of the gateway
    metrics_urls: Sequence[str] = ()
    process_ids: Mapping[str, int] = field(default_factory=dict)  # by name; empty when it is not ours

    def metrics(self) -> list[str]:
        """The text of every /metrics endpoint. Raises OSError."""
        return [scrape(url) for url in self.metrics_urls]


@contextmanager
def local_cluster(checkpoint: str | None, slots: int, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """One gateway, one codec and one lm worker on this machine. Raises as `running_cluster` does.

    checkpoint: a folder or repository; the default one if None.
    """
    with running_cluster(checkpoint, environment=environment, slots=slots) as cluster:
        names = cluster.names
        yield Cluster(
            cluster.address(),
            [cluster.metrics_url(name) for name in names],
            {name: cluster.process_id(name) for name in names},
        )
