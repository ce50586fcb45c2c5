"""Move reports of a call: what its caller, its counters and the metrics hear when its streams move."""

from __future__ import annotations

from collections.abc import Callable

from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.mover import MoveReason
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.workers.worker import Worker

_WHY = {
    MoveReason.DRAINING: "is about to stop",
    MoveReason.HUNG: "did not answer",
    MoveReason.LOST: "was lost",
}


class MoveReports:
    """Implements MoveListener."""

    def __init__(
        self,
        metrics: GatewayMetrics,
        counters: CallCounters,
        tell_moved: Callable[[str], None],
        tell_end: Callable[[str, float], None],
    ) -> None:
        """tell_moved: the caller, of what has happened. tell_end: the caller, of who stops, and in how many seconds."""
        self._metrics = metrics
        self._counters = counters
        self._tell_moved = tell_moved
        self._tell_end = tell_end

    def moved(self, service: str, reason: MoveReason, same: bool) -> None:
        self._metrics.moved(service, reason.name.lower(), "moved" if same else "differs")
        self._counters.moves += 1
        self._tell_moved(f"{service}: the worker {_WHY[reason]}")

    def not_moved(self, service: str, reason: MoveReason, worker: Worker) -> None:
        if reason is MoveReason.DRAINING:
            self._tell_end(f"the {service} worker", worker.grace_left_s)

    def given_up(self, service: str, reason: MoveReason) -> None:
        self._metrics.moved(service, reason.name.lower(), "given_up")

    def gap(self, service: str, gap_s: float) -> None:
        self._metrics.move_gap_s[service].observe(gap_s)
