"""Metrics of the workers that a gateway knows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from moshi_cluster.services.common.errors import STATUSES
from moshi_cluster.services.common.metrics import LATENCY_BUCKETS_S, initialise

SERVICES = ("codec", "lm")
MOVE_REASONS = ("draining", "hung", "lost")
MOVE_OUTCOMES = ("moved", "differs", "given_up")
LossReason = Literal["lost", "failed"]
"""Of a worker: it is gone without a word, or its engine has failed."""
_MOST_WORKERS_GONE = 100  # whose losses are still shown


class WorkerMetrics:
    """Which workers there are, which are lost, what they refuse, and how calls move between them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.workers = Gauge(
            "moshi_gateway_workers", "Workers that take sessions, full ones included.", ("service",), registry=registry
        )
        self.workers_unfit = Gauge(
            "moshi_gateway_workers_unfit",
            "Workers within reach that fit none of the other service: no call is placed on them.",
            ("service",),
            registry=registry,
        )
        self.worker_checkpoints = Gauge(
            "moshi_gateway_worker_checkpoints",
            "Different checkpoints that the workers within reach have loaded.",
            ("service",),
            registry=registry,
        )
        self._add_worker_by_address(registry)
        self._moves = Counter(
            "moshi_gateway_failovers",
            "Times that a call's streams had to leave their worker. outcome: moved, differs (moved, to another answer),"
            " given_up.",
            ("service", "reason", "outcome"),
            registry=registry,
        )
        move_gap_s = Histogram(
            "moshi_gateway_move_gap_seconds",
            "What the first answer of the other worker was late by, when a call's streams had moved.",
            ("service",),
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.move_gap_s = {service: move_gap_s.labels(service) for service in SERVICES}
        initialise(self._moves, SERVICES, MOVE_REASONS, MOVE_OUTCOMES)
        self._checkpoint_workers = Gauge(
            "moshi_gateway_checkpoint_workers",
            "Workers within reach by what they have loaded; what none has any more is not shown.",
            ("service", "checkpoint"),
            registry=registry,
        )
        self._shown_checkpoints: set[tuple[str, str]] = set()
        self._rejections = Counter(
            "moshi_gateway_worker_rejections",
            "Calls for which the workers had no slot, by the status they ended with.",
            ("status",),
            registry=registry,
        )
        initialise(self._rejections, STATUSES)

    def _add_worker_by_address(self, registry: CollectorRegistry) -> None:
        labels = ("service", "address")
        self._worker_up = Gauge(
            "moshi_gateway_worker_up",
            "Whether a worker is within reach, by its address; not shown once its name stands for it no more.",
            labels,
            registry=registry,
        )
        self._worker_losses = Counter(
            "moshi_gateway_worker_losses",
            "Times that a worker was lost before it was over with its sessions: gone, or its engine failed.",
            (*labels, "reason"),
            registry=registry,
        )
        self._gone: OrderedDict[tuple[str, str], None] = OrderedDict()  # workers, oldest first

    def worker_is(self, up: bool, service: str, address: str) -> None:
        """Takes that a worker is within reach, or not."""
        self._worker_up.labels(service, address).set(up)
        initialise(self._worker_losses, (service,), (address,), get_args(LossReason))
        self._gone.pop((service, address), None)

    def worker_lost(self, service: str, address: str, reason: LossReason) -> None:
        """Counts a worker that is gone too early."""
        self._worker_losses.labels(service, address, reason).inc()

    def worker_forgotten(self, service: str, address: str) -> None:
        """Takes that nobody looks for a worker any more; how often it was lost is shown for a while, for alerts."""
        self._worker_up.remove(service, address)
        self._gone[service, address] = None
        if len(self._gone) > _MOST_WORKERS_GONE:
            oldest, _ = self._gone.popitem(last=False)
            for reason in get_args(LossReason):
                self._worker_losses.remove(*oldest, reason)

    def observe_checkpoints(self, workers: Mapping[tuple[str, str], int]) -> None:
        """Takes how many workers there are by service and checkpoint."""
        for loaded, count in workers.items():
            self._checkpoint_workers.labels(*loaded).set(count)
        for gone in self._shown_checkpoints - workers.keys():
            self._checkpoint_workers.remove(*gone)
        self._shown_checkpoints = set(workers)

    def rejected(self, status: str) -> None:
        """Counts a call that got no slot."""
        self._rejections.labels(status).inc()

    def moved(self, service: str, reason: str, outcome: str) -> None:
        """Counts streams that had to leave their worker, by what became of them."""
        self._moves.labels(service, reason, outcome).inc()
