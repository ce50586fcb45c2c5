"""Conversation: what outlives a connection. A session is its token history, so whoever has that goes on with it."""

from __future__ import annotations

import asyncio
import math
import secrets
from dataclasses import dataclass, field

from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.store.entry import Entry
from moshi_cluster.v1 import common_pb2

_KEY_BYTES = 24


@dataclass(eq=False)
class Conversation:
    """What another connection needs to go on with a call."""

    sampling: common_pb2.Sampling
    text_seed: int
    audio_seed: int
    history: History
    token: str | None = field(repr=False, default=None)  # of the client that began it, and nobody else may go on
    persona: common_pb2.Persona = field(repr=False, default_factory=common_pb2.Persona)
    earlier: Conversation | None = field(repr=False, default=None)  # what it goes on with
    heard_frames: int = 0  # of what it goes on with, as the caller says; 0: they do not
    key: str = field(repr=False, default_factory=lambda: secrets.token_urlsafe(_KEY_BYTES))
    entry: Entry | None = field(repr=False, default=None)  # in the session store, if there is one
    has_begun: bool = False  # its call is up, and its key told
    cut_short: bool = False  # its call was ended by the gateway's stop
    is_elsewhere: bool = False  # another gateway goes on with it
    wanted: asyncio.Event = field(default_factory=asyncio.Event)  # the connection that holds it has to give up
    over: asyncio.Event = field(default_factory=asyncio.Event)  # no connection holds it
    deadline_s: float = math.inf  # when it is forgotten, on the clock of `Resumption`; none while it is held

    def going_on(self, heard_frames: int = 0) -> Conversation:
        """A conversation that goes on with this one, under a key of its own."""
        seeds = self.text_seed, self.audio_seed
        return Conversation(self.sampling, *seeds, self.history, self.token, self.persona, self, heard_frames)

    @property
    def lost_frames(self) -> int:
        """Frames that the caller has heard and the history of what it goes on with has not."""
        return max(0, self.heard_frames - self.history.total_frames)
