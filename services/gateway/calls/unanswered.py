"""Unanswered frames of a call at one worker: for how long the worker has left them so."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from moshi_cluster.services.gateway.calls.ingress import UserFrame


class UnansweredFrames:
    """Counts looks, not time: a gateway that stood still itself reads first what came meanwhile."""

    def __init__(self, hops: Sequence[deque[UserFrame]]) -> None:
        """hops: the frames that wait for an answer, on each hop of the worker."""
        self.unanswered_s = 0.0
        """For how long the oldest frame of a hop has been the same."""
        self.silent_s = 0.0
        """For how long the worker has said nothing to any call meanwhile."""
        self.hop = 0
        """Whose oldest frame that is."""
        self._hops = hops
        self._heard = -1
        self.restart()

    def restart(self) -> None:
        """Another worker has the frames now."""
        self._oldest: list[UserFrame | None] = [None] * len(self._hops)
        self._for_s = [0.0] * len(self._hops)
        self.unanswered_s = self.silent_s = 0.0

    def look(self, heard: int, interval_s: float) -> None:
        """heard: how many messages have come from the worker. interval_s: since the last look."""
        for hop, waiting in enumerate(self._hops):
            oldest = waiting[0] if waiting else None
            is_same = oldest is not None and oldest is self._oldest[hop]
            self._oldest[hop], self._for_s[hop] = oldest, self._for_s[hop] + interval_s if is_same else 0.0
        self.unanswered_s = max(self._for_s)
        self.hop = self._for_s.index(self.unanswered_s)
        is_silent = heard == self._heard and self.unanswered_s
        self.silent_s = self.silent_s + interval_s if is_silent else 0.0
        self._heard = heard
