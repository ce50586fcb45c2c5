"""Time that passes when the test says so, with alarms as an event loop has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Alarm:
    """A callback that may be cancelled."""

    callback: Callable[[], object] | None

    def cancel(self) -> None:
        self.callback = None


@dataclass
class SimulatedClock:
    """Seconds from any beginning."""

    now_s: float = 1000.0
    _alarms: list[tuple[float, Alarm]] = field(default_factory=list)

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, callback: Callable[[], object], /) -> Alarm:
        alarm = Alarm(callback)
        self._alarms.append((when, alarm))
        return alarm

    def advance(self, seconds: float) -> None:
        """Lets so much time pass; alarms go off in their order."""
        end_s = self.now_s + seconds
        while due := [entry for entry in self._alarms if entry[0] <= end_s]:
            first = min(due, key=lambda entry: entry[0])
            self._alarms.remove(first)
            self.now_s = max(self.now_s, first[0])
            if first[1].callback is not None:
                first[1].callback()
        self.now_s = end_s
