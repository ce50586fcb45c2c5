"""Largest value of the last minute, in little memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class RecentMaximum:
    """Maximum of what was added lately, kept by spans of time of which the oldest is forgotten as a whole."""

    def __init__(self, clock: Callable[[], float], span_s: float = 10.0, spans: int = 6) -> None:
        """clock: in seconds. A value counts for `spans` times `span_s` after it was added, or up to one span less."""
        self._clock = clock
        self._span_s = span_s
        self._spans = spans
        self._maxima: deque[tuple[int, float]] = deque()  # number of the span, its largest value

    def add(self, value: float) -> None:
        """Counts a value from now on."""
        now = self._now()
        if self._maxima and self._maxima[-1][0] == now:
            self._maxima[-1] = now, max(value, self._maxima[-1][1])
        else:
            self._maxima.append((now, value))
            self._forget(now)

    def value(self) -> float:
        """The largest of those that count, 0 where there is none."""
        self._forget(self._now())
        return max((value for _, value in self._maxima), default=0.0)

    def _now(self) -> int:
        return int(self._clock() // self._span_s)

    def _forget(self, now: int) -> None:
        while self._maxima and self._maxima[0][0] <= now - self._spans:
            self._maxima.popleft()
