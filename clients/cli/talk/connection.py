"""A connection to a gateway, whatever carries it: voice out; voice, text and statistics in."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from moshi_cluster.clients.telephony.access import OPEN, Access
from moshi_cluster.clients.telephony.resuming import Resume
from moshi_cluster.clients.telephony.wire_formats import S16Samples
from moshi_cluster.v1 import common_pb2

STATS_INTERVAL_S = 1.0


@dataclass(frozen=True)
class CallOptions:
    """What a caller asks for."""

    seed: int | None = None
    greedy: bool = False  # always the likeliest token
    loopback: bool = False  # the gateway's edge alone, no model
    persona: common_pb2.Persona = field(default_factory=common_pb2.Persona)  # both fields empty: none
    access: Access = OPEN
    resume: Resume | None = None  # of the conversation to go on with


@dataclass(frozen=True)
class Ready:
    """The conversation is up: from now on the gateway listens."""

    session_id: str


@dataclass(frozen=True)
class Voice:
    """A piece of Moshi's voice, 24 kHz."""

    samples: S16Samples


@dataclass(frozen=True)
class Words:
    """A piece of Moshi's text; a leading space starts a word."""

    piece: str


@dataclass(frozen=True)
class Stats:
    """Latency and counters of the conversation, every second."""

    latency_ms: dict[str, float] = field(default_factory=dict)  # hop -> median
    counters: dict[str, int] = field(default_factory=dict)  # so far, named as in the gRPC contract


@dataclass(frozen=True)
class QueuePosition:
    """Where a caller stands in the queue when every slot is in use: 1 is next; 0: their turn has come."""

    position: int
    waiting: int


@dataclass(frozen=True)
class Notice:
    """Something that happened to the conversation, in words."""

    text: str


Heard: TypeAlias = Ready | Voice | Words | Stats | QueuePosition | Notice


class Connection(Protocol):
    """One conversation with a gateway. Closing it is the business of whoever opened it."""

    @property
    def resume(self) -> Resume | None:
        """What would go on with it if it were lost; None where nothing can."""

    async def say(self, samples: S16Samples) -> None:
        """Sends the caller's voice, 24 kHz. Does nothing once the connection is closed: `hear` says why it is."""

    async def hang_up(self) -> None:
        """Says that no more voice comes; what is in flight is still answered, then `hear` ends."""

    def hear(self) -> AsyncGenerator[Heard, None]:
        """Everything that comes, `Ready` before any voice. Raises CallError when the connection fails."""
