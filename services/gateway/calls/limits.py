"""Limits of a call: when it has to end although nobody hung up."""

from __future__ import annotations

from moshi_cluster.services.common.errors import LimitReached
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.spec import Slo
from moshi_cluster.services.gateway.settings import GatewaySettings

_SLO_FIRST_FRAME = 50


class CallLimits:
    """Idle time, total length and flush of one call, in seconds on one monotonic clock."""

    def __init__(self, settings: GatewaySettings, start_s: float) -> None:
        self._settings = settings
        self._heard_s = start_s
        self._longest_s = start_s + settings.session_max_s
        self._hung_up = False

    def heard(self, now_s: float) -> None:
        """The caller sent something."""
        if not self._hung_up:
            self._heard_s = now_s

    def hung_up(self, now_s: float) -> None:
        """The caller will send no more."""
        self._heard_s = now_s
        self._hung_up = True

    def check(self, now_s: float) -> float:
        """When to check again. Raises LimitReached naming the limit."""
        settings = self._settings
        if self._hung_up:
            return self._due(settings.flush_timeout_s, now_s, "the last replies were not taken in time")
        if now_s >= self._longest_s:
            raise LimitReached("the call reached its longest time", limit_s=settings.session_max_s)
        idle_s = self._due(settings.idle_timeout_s, now_s, "the caller sent nothing")
        # A hang-up shortens the wait, so look again soon enough to see one.
        return min(idle_s, self._longest_s, now_s + settings.flush_timeout_s / 2)

    def _due(self, limit_s: float, now_s: float, problem: str) -> float:
        deadline_s = self._heard_s + limit_s
        if now_s >= deadline_s:
            raise LimitReached(problem, limit_s=limit_s)
        return deadline_s


def check_slo(slo: Slo, counters: CallCounters, backlog_frames: int) -> None:
    """Raises LimitReached with the counts when the call is no longer real time."""
    if slo.max_backlog_frames and backlog_frames > slo.max_backlog_frames:
        raise LimitReached(
            "slo: waiting frames", waiting_frames=backlog_frames, max_backlog_frames=slo.max_backlog_frames
        )
    if slo.max_late_ratio and counters.frames_out >= _SLO_FIRST_FRAME:
        ratio = counters.frames_late / counters.frames_out
        if ratio > slo.max_late_ratio:
            raise LimitReached(
                "slo: share of late frames",
                frames_late=counters.frames_late,
                frames_out=counters.frames_out,
                late_ratio=round(ratio, 4),
                max_late_ratio=round(slo.max_late_ratio, 6),
            )
