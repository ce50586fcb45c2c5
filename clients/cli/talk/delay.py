"""The delay from the caller's mouth to their ear."""

from __future__ import annotations

from collections.abc import Mapping

from moshi_cluster.audio.frame import FRAME_SAMPLES, MODEL_RATE_HZ

_KEPT = 0.85  # of the old average with every new value, as in upstream's web client


class Delay:
    """Moving average of what was said less what was played or dropped of the answer.

    Every frame is answered by one frame, so the difference is how far the answer is behind.
    """

    def __init__(self) -> None:
        self._sum_s = 0.0
        self._weight = 0.0
        self._frames_added = 0
        self._unanswered = 0

    def begin(self, unanswered: int) -> None:
        """The gateway listens from now on. unanswered: samples said to a connection that was lost, less those heard."""
        self._sum_s = self._weight = 0.0
        self._frames_added = 0
        self._unanswered = unanswered

    def note_counters(self, counters: Mapping[str, int]) -> None:
        """Frames that the gateway filled in for us lengthen the answer, those that it dropped shorten it."""
        lost = counters.get("frames_dropped", 0) + counters.get("reply_frames_dropped", 0)
        self._frames_added = counters.get("frames_filled", 0) - lost

    def observe(self, said: int, consumed: int) -> None:
        """Samples since the beginning; call it in equal steps of time."""
        answered = consumed + self._unanswered
        behind_s = (said + self._frames_added * FRAME_SAMPLES - answered) / MODEL_RATE_HZ
        self._sum_s = _KEPT * self._sum_s + (1 - _KEPT) * behind_s
        self._weight = _KEPT * self._weight + (1 - _KEPT)

    @property
    def seconds(self) -> float | None:
        """The average; None before the first value."""
        return max(0.0, self._sum_s / self._weight) if self._weight else None
