"""What a caller is told beside audio."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from moshi_cluster.services.gateway.calls.counters import CallCounters


class EventKind(IntEnum):
    """What happened to a call. The numbers are those of the public contract."""

    FILLED = 1
    DROPPED = 2
    REPLY_DROPPED = 3
    MARK = 4
    CLEARED = 5
    PAUSED = 6
    RESUMED = 7
    STATUS = 8
    DTMF = 9
    GO_AWAY = 10
    MOVED = 11


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A piece of what Moshi says, with the reply frame that it belongs to."""

    piece: str
    frame_index: int


@dataclass(frozen=True, slots=True)
class CallEvent:
    """Something that happened, with the reply frame at which it did."""

    kind: EventKind
    frame_index: int
    frames: int = 0
    detail: str = ""
    counters: CallCounters | None = None
    hops_s: Mapping[str, float] | None = None  # medians


Event = TextPiece | CallEvent


class PendingEvents:
    """Frames that something happened to and of which the caller has not been told yet."""

    def __init__(self, count: Callable[[EventKind, int], None]) -> None:
        """count: told of everything at once, for the metrics; a call may end before its caller is told."""
        self._count = count
        self._frames: dict[EventKind, int] = {}

    def add(self, kind: EventKind, frames: int) -> None:
        """Adds to what is to be told."""
        self._count(kind, frames)
        self._frames[kind] = self._frames.get(kind, 0) + frames

    def take(self) -> dict[EventKind, int]:
        """What is to be told now, and nothing afterwards."""
        frames, self._frames = self._frames, {}
        return frames
