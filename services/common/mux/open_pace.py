"""Pace of the streams that one gateway opens: those of all its calls at once, and a breath between such groups."""

from __future__ import annotations

_AT_ONCE, _PAUSE_S = 64, 0.01  # the engine needs the interpreter in between


class OpenPace:
    """Counts opens that come close together."""

    def __init__(self) -> None:
        self._began_s = 0.0
        self._opens = 0

    def delay_s(self, now_s: float) -> float:
        """Counts an open; how long to wait before anything more is read. now_s: monotonic."""
        if not self._opens or now_s - self._began_s > _PAUSE_S:
            self._began_s, self._opens = now_s, 0
        self._opens += 1
        if self._opens < _AT_ONCE:
            return 0.0
        self._opens = 0
        return _PAUSE_S
