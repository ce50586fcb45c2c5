"""Whether an engine's turns still end: no exception tells of a device that hangs."""

from __future__ import annotations


class TurnWatch:
    """Looks at a count of turns now and then. Counts looks, not time: a process that was stopped has missed nothing."""

    def __init__(self, stuck_looks: int) -> None:
        """stuck_looks: a turn that is still the same after so many more looks has hung."""
        self._stuck_looks = stuck_looks
        self._seen = self._looks = 0

    def look(self, turns: int) -> bool:
        """Whether the turn has hung. turns: begun and ended so far, odd while one lasts."""
        self._looks = self._looks + 1 if turns == self._seen and turns % 2 else 0
        self._seen = turns
        return self._looks >= self._stuck_looks
