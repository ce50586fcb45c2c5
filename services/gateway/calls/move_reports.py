"""Move reports of a call: what its caller, its counters, the metrics and the log hear when its streams move."""

from __future__ import annotations

import logging
from collections.abc import Callable

from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.mover import MoveReason
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.workers.worker import Worker

_log = logging.getLogger(__name__)

_WHY = {
    MoveReason.DRAINING: "is about to stop",
    MoveReason.HUNG: "did not answer",
    MoveReason.LOST: "was lost",
}


class MoveReports:
    """Implements MoveListener."""

    def __init__(
        self,
        session_id: str,
        metrics: GatewayMetrics,
        counters: CallCounters,
        tell_moved: Callable[[str], None],
        tell_end: Callable[[str, float], None],
    ) -> None:
        """tell_moved: the caller, of what has happened. tell_end: the caller, of who stops, and in how many seconds."""
        self._session_id = session_id
        self._metrics = metrics
        self._counters = counters
        self._tell_moved = tell_moved
        self._tell_end = tell_end

    def moved(self, reason: MoveReason, old: Worker, new: Worker, same: bool) -> None:
        why, outcome = reason.name.lower(), "moved" if same else "differs"
        self._metrics.moved(old.service, why, outcome)
        self._counters.moves += 1
        self._tell_moved(f"{old.service}: the worker {_WHY[reason]}")
        what = (self._session_id, old.service, why, outcome, old.address, new.address)
        _log.info("call moved session=%s worker=%s reason=%s outcome=%s address=%s to=%s", *what)

    def not_moved(self, reason: MoveReason, worker: Worker) -> None:
        if reason is MoveReason.DRAINING:
            self._tell_end(f"the {worker.service} worker", worker.grace_left_s)
        what = (self._session_id, worker.service, reason.name.lower(), worker.address)
        _log.warning("call finds no other worker, trying on session=%s worker=%s reason=%s address=%s", *what)

    def given_up(self, reason: MoveReason, worker: Worker) -> None:
        why = reason.name.lower()
        self._metrics.moved(worker.service, why, "given_up")
        what = (self._session_id, worker.service, why, worker.address)
        _log.warning("call given up session=%s worker=%s reason=%s address=%s", *what)

    def gap(self, service: str, gap_s: float) -> None:
        self._metrics.move_gap_s[service].observe(gap_s)
