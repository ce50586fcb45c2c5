"""Trace of one call: what happened to it and when, and how long its frames took on each hop; free of OpenTelemetry."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

_MOST_EVENTS = 100


@dataclass(frozen=True)
class TraceEvent:
    """Something at one moment, in ns of Unix time."""

    name: str
    at_ns: int
    figures: Mapping[str, str | float]


@dataclass
class CallTrace:
    """Collected while the call lasts."""

    start_ns: int = field(default_factory=time.time_ns)
    events: list[TraceEvent] = field(default_factory=list)

    def happened(self, name: str, **figures: str | float) -> None:
        """Notes an event, as far as there is room."""
        if len(self.events) < _MOST_EVENTS:
            self.events.append(TraceEvent(name, self.now_ns(), figures))

    def now_ns(self) -> int:
        """Unix time."""
        return time.time_ns()
