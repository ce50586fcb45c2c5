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
            return self._due(self._heard_s + settings.flush_timeout_s, now_s, "the last replies were not taken in time")
        if now_s >= self._longest_s:
            raise LimitReached(f"the call reached its longest time of {settings.session_max_s:g} s")
        idle_s = self._due(self._heard_s + settings.idle_timeout_s, now_s, "the caller sent nothing")
        # A hang-up shortens the wait, so look again soon enough to see one.
        return min(idle_s, self._longest_s, now_s + settings.flush_timeout_s / 2)

    @staticmethod
    def _due(deadline_s: float, now_s: float, problem: str) -> float:
        if now_s >= deadline_s:
            raise LimitReached(problem)
        return deadline_s


def check_slo(slo: Slo, counters: CallCounters, backlog_frames: int) -> None:
    """Raises LimitReached with the counts when the call is no longer real time."""
    if slo.max_backlog_frames and backlog_frames > slo.max_backlog_frames:
        raise LimitReached(f"slo: {backlog_frames} frames wait, more than {slo.max_backlog_frames}")
    if slo.max_late_ratio and counters.frames_out >= _SLO_FIRST_FRAME:
        ratio = counters.frames_late / counters.frames_out
        if ratio > slo.max_late_ratio:
            late = f"{counters.frames_late} of {counters.frames_out} frames were late"
            raise LimitReached(f"slo: {late}, a share of {ratio:.4f}, more than {slo.max_late_ratio:g}")
