"""What every kind of connection to a gateway offers: voice out; voice, text and figures in."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from moshi_cluster.clients.cli.access import OPEN, Access

Samples: TypeAlias = "array[int]"  # 16 bit, mono, at RATE_HZ

RATE_HZ = 24_000
FRAME_SAMPLES = 1920
"""A frame: the model answers each with exactly one."""
FIGURES_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Wish:
    """What the caller asks for."""

    seed: int | None = None
    greedy: bool = False  # always the likeliest token
    loopback: bool = False  # the gateway's edge alone, no model
    access: Access = OPEN


@dataclass(frozen=True)
class Ready:
    """The conversation is up: from now on the gateway listens."""

    session_id: str


@dataclass(frozen=True)
class Voice:
    """Moshi's."""

    samples: Samples


@dataclass(frozen=True)
class Words:
    """A piece of Moshi's text; a leading space starts a word."""

    piece: str


@dataclass(frozen=True)
class Figures:
    """How the conversation goes, every second."""

    latency_ms: dict[str, float] = field(default_factory=dict)  # hop -> median
    counters: dict[str, int] = field(default_factory=dict)  # so far, named as in the gRPC contract


@dataclass(frozen=True)
class Place:
    """Every slot is in use: where we stand in line, 1 is next; 0: our turn has come."""

    position: int
    waiting: int


@dataclass(frozen=True)
class Notice:
    """Something happened."""

    text: str


Heard: TypeAlias = Ready | Voice | Words | Figures | Place | Notice


class Line(Protocol):
    """One conversation. Closing it is the business of whoever opened it."""

    async def say(self, samples: Samples) -> None:
        """Sends the caller's voice. Does nothing once the line is closed: `hear` says why it is."""

    async def hang_up(self) -> None:
        """Says that no more voice comes; what is in flight is still answered, then `hear` ends."""

    def hear(self) -> AsyncGenerator[Heard, None]:
        """Everything that comes, `Ready` before any voice. Raises CallError when the line fails."""
