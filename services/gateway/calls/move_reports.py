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
        outcome = "moved" if same else "differs"
        self._metrics.moved(old.service, reason.name.lower(), outcome)
        self._counters.moves += 1
        self._tell_moved(f"{old.service}: the worker {_WHY[reason]}")
        self._note(logging.INFO, f"call {outcome}", reason, old, f" to={new.address}")

    def not_moved(self, reason: MoveReason, worker: Worker) -> None:
        if reason is MoveReason.DRAINING:
            self._tell_end(f"the {worker.service} worker", worker.grace_left_s)
        self._note(logging.WARNING, "call finds no other worker, trying on", reason, worker)

    def given_up(self, reason: MoveReason, worker: Worker) -> None:
        self._metrics.moved(worker.service, reason.name.lower(), "given_up")
        self._note(logging.WARNING, "call given up", reason, worker)

    def gap(self, service: str, gap_s: float) -> None:
        self._metrics.move_gap_s[service].observe(gap_s)

    def _note(self, level: int, what: str, reason: MoveReason, worker: Worker, rest: str = "") -> None:
        _log.log(
            level,
            "%s session=%s service=%s reason=%s address=%s%s",
            what,
            self._session_id,
            worker.service,
            reason.name.lower(),
            worker.address,
            rest,
        )
