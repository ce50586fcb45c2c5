"""Entry: one conversation as this gateway keeps it in the store, and the step that is due for it."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from moshi_cluster.services.gateway.store import scripts
from moshi_cluster.services.gateway.store.record import Frames, seal_head, seal_piece
from moshi_cluster.services.gateway.store.redis_client import Step
from moshi_cluster.services.gateway.store.scripts import Reply
from moshi_cluster.services.gateway.store.sealing import Seal

_OWNER_BYTES = 12
About = Callable[[], Mapping[str, Any]]


class Phase(Enum):
    """What is to become of a record."""

    LIVE = "live"
    """Its call is up: what is new is written again and again."""
    LOST = "lost"
    """Its call was lost: the rest is written, then it waits for its caller."""
    CLAIMED = "claimed"
    """Its caller is back, and waits for a call."""
    RELEASED = "released"
    """Its caller got no call, and may come back once more."""
    RETIRED = "retired"
    """It goes on under another key."""
    ENDED = "ended"
    """Nobody will come back for it."""

    @property
    def is_last(self) -> bool:
        """Whether nothing is left to do once that is done."""
        return self not in (Phase.LIVE, Phase.CLAIMED)


@dataclass(frozen=True)
class Times:
    """For how long records live, in milliseconds."""

    live_ms: int  # since the last write
    lost_ms: int
    lease_ms: int  # of who has claimed it and waits for a call
    retired_ms: int  # no gateway is halted longer than that and still has the call


@dataclass(eq=False)
class Entry:
    """What the store has of a conversation, as far as this gateway knows, and who is told when that is taken."""

    name: str
    seal: Seal
    times: Times
    frames: Frames | None  # None of a record that is only claimed
    about: About
    on_taken: Callable[[], None] = lambda: None
    most_frames: int | None = None  # that the model looks back on: older ones need not be there
    phase: Phase = Phase.LIVE
    owner: str = field(default_factory=lambda: secrets.token_hex(_OWNER_BYTES))
    due_s: float = 0.0
    stored_frames: int | None = None  # None: nothing, or not known
    pieces: deque[int] = field(default_factory=deque)  # first frames of those that are stored

    def step(self) -> tuple[Step, Callable[[Reply], None]]:
        """What is to be done now, and what to call once it is."""
        match self.phase:
            case Phase.LIVE | Phase.LOST:
                return self._write()
            case Phase.CLAIMED:
                return self._simple(scripts.CLAIM, self.owner, self.times.lease_ms)
            case Phase.RELEASED:
                return self._simple(scripts.RELEASE, self.owner, self.times.lost_ms)
            case Phase.RETIRED:
                return self._simple(scripts.RETIRE, self.owner, self.times.retired_ms)
        return self._simple(scripts.DELETE, self.owner)

    def _simple(self, script: str, *arguments: str | int) -> tuple[Step, Callable[[Reply], None]]:
        return Step(script, self.name, arguments), lambda reply: None

    def _write(self) -> tuple[Step, Callable[[Reply], None]]:
        assert self.frames is not None
        total, stored = self.frames.total_frames, self.stored_frames
        oldest = max(self.frames.first_frame, total - self.most_frames if self.most_frames else 0)
        pieces = deque(() if stored is None else self.pieces)
        first = oldest if stored is None else stored
        if total > first:
            pieces.append(first)
        dropped = _before(pieces, oldest)
        head = seal_head(self.seal, self.about(), pieces[0] if pieces else total, total, self.frames.width)
        piece = (first, seal_piece(self.seal, self.frames, first, total)) if total > first else ()
        ttl_ms = self.times.lost_ms if self.phase is Phase.LOST else self.times.live_ms
        expected = "-" if stored is None else stored
        arguments = (self.owner, self.phase.value, ttl_ms, expected, total, len(dropped), head, *dropped, *piece)

        def written(reply: Reply) -> None:
            self.stored_frames, self.pieces = (total, pieces) if reply is Reply.DONE else (None, deque())

        return Step(scripts.WRITE, self.name, arguments), written


def _before(pieces: deque[int], oldest: int) -> list[int]:
    """Takes away the pieces that end before a frame."""
    dropped = []
    while len(pieces) > 1 and pieces[1] <= oldest:
        dropped.append(pieces.popleft())
    return dropped
