"""Events of a call, and the other items that leave it, in the gateway's own terms; each transport has its spelling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.spec import CallSpec
from moshi_cluster.v1 import common_pb2

_NOTIFY_INTERVAL_S = 1.0


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
    DTMF_IGNORED = 12
    PROMPTS_IGNORED = 13


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


@dataclass(frozen=True)
class Checkpoints:
    """Fingerprints of what the workers behind a call have loaded; empty for a loopback call."""

    codec: str = ""
    lm: str = ""


@dataclass(frozen=True)
class Resume:
    """How a call can be resumed, and what is left of the conversation that it goes on with."""

    key: str = field(repr=False)
    keep_s: float
    remembered_frames: int | None  # None: a new conversation
    lost_frames: int


@dataclass(frozen=True)
class Started:
    """The first item: every slot is held, the model is ready for the first frame."""

    session_id: str
    spec: CallSpec
    setup_s: float  # from the caller's request to now
    sampling: common_pb2.Sampling  # what is in use; empty for a loopback call
    checkpoints: Checkpoints
    resume: Resume | None = None  # None: the call cannot be resumed


@dataclass(frozen=True)
class Ended:
    """The last item of a call that ended well."""

    cut_short: bool  # by the gateway's stop
    counters: CallCounters


Outgoing = Started | ReplyPacket | Event | Ended


class PendingEvents:
    """Frames filled in or dropped of which the caller has not been told yet.

    They are told at most once a second: a long hold is not a flood of events.
    """

    def __init__(self, start_s: float) -> None:
        """start_s: from when on the caller may be told, in seconds on the clock of `take`."""
        self._next_s = start_s
        self._frames: dict[EventKind, int] = {}

    def add(self, kind: EventKind, frames: int) -> None:
        """Adds frames to what the caller is to be told."""
        self._frames[kind] = self._frames.get(kind, 0) + frames

    def take(self, now_s: float, last: bool = False) -> dict[EventKind, int]:
        """What the caller is to be told now, frames of each kind; last: although the second is not over."""
        if not self._frames or (now_s < self._next_s and not last):
            return {}
        self._next_s = now_s + _NOTIFY_INTERVAL_S
        frames, self._frames = self._frames, {}
        return frames
