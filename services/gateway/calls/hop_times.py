"""Hop times of a call: how long its frames take on each part of their way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

from moshi_cluster.services.gateway.metrics import HOPS, GatewayMetrics, exemplar_of

_RECENT_FRAMES = 25  # two seconds


@dataclass
class HopTotal:
    """The frames of a call on one hop."""

    frames: int = 0
    sum_s: float = 0.0
    max_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Takes the time of one frame."""
        self.frames += 1
        self.sum_s += seconds
        if seconds > self.max_s:
            self.max_s = seconds


class HopTimes:
    """Hands every time to the metrics and keeps those of the last frames for the caller."""

    def __init__(self, metrics: GatewayMetrics, session_id: str) -> None:
        self._exemplars = {"turnaround": exemplar_of(session_id)}  # 2 µs each: the whole's is enough
        self._hop_s = metrics.hop_s
        self._recent_s: dict[str, deque[float]] = {hop: deque(maxlen=_RECENT_FRAMES) for hop in HOPS}
        self.totals = {hop: HopTotal() for hop in HOPS}
        """Of the whole call."""

    def observe(self, hop: str, seconds: float) -> None:
        """Takes the time of one frame on one hop of `metrics.HOPS`."""
        self._hop_s[hop].observe(seconds, self._exemplars.get(hop))
        self._recent_s[hop].append(seconds)
        self.totals[hop].add(seconds)

    def take_medians_s(self) -> dict[str, float]:
        """The median of each hop since the last look, or over two seconds; hops that no frame passed are left out."""
        medians_s = {hop: median(times_s) for hop, times_s in self._recent_s.items() if times_s}
        for times_s in self._recent_s.values():
            times_s.clear()
        return medians_s
