"""Conversations whose connection was lost, kept until their client comes back for them.

A session is its token history: with its sampling and its history, any lm worker goes on where the last one was.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from moshi_cluster.services.common.deadlines import set_within
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.v1 import common_pb2

_KEY_BYTES = 24
_GIVE_UP_TIMEOUT_S = 5.0


@dataclass(eq=False)
class Conversation:
    """What another connection needs to go on with a call."""

    sampling: common_pb2.Sampling
    text_seed: int
    audio_seed: int
    history: History
    give_up: Callable[[], None]  # ends the connection that holds it
    token: str | None = field(repr=False, default=None)  # of the client that began it, and nobody else may go on
    key: str = field(default_factory=lambda: secrets.token_urlsafe(_KEY_BYTES))
    over: asyncio.Event = field(default_factory=asyncio.Event)  # no connection holds it
    deadline_s: float = math.inf  # when it is forgotten, on the clock of `Resumption`; none while it is held


class Alarm(Protocol):
    """What `Clock.call_at` has set."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time in seconds, and alarms, as an event loop has them."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Alarm: ...


class Resumption:
    """Conversations of one gateway, by the keys that their clients were told.

    A lost conversation is kept until `keep_s` after its last connection ended, one that got no call included, or until
    `most_lost` others were lost after it.
    """

    def __init__(
        self, keep_s: float, most_lost: int, clock: Clock | None = None, give_up_timeout_s: float = _GIVE_UP_TIMEOUT_S
    ) -> None:
        """clock: the running loop if absent. give_up_timeout_s: for a connection that somebody else comes back for."""
        self._keep_s = keep_s
        self._most_lost = most_lost
        self._clock = clock or asyncio.get_running_loop()
        self._give_up_timeout_s = give_up_timeout_s
        self._held: dict[str, Conversation] = {}
        self._lost: dict[str, Conversation] = {}  # the earliest deadline first
        self._alarm: Alarm | None = None

    def begin(self, conversation: Conversation) -> None:
        """A connection holds it from now on."""
        self._held[conversation.key] = conversation

    def end(self, conversation: Conversation, lost: bool) -> None:
        """No connection holds it any more. lost: its client may come back for it."""
        del self._held[conversation.key]
        if lost:
            self._keep(conversation)
        conversation.over.set()

    def give_back(self, conversation: Conversation) -> None:
        """The connection that took it never got a call: its client may try again."""
        self._keep(conversation)

    async def take(self, key: str, token: str | None = None) -> Conversation | None:
        """The conversation that this key stands for, once; None when it is unknown, too old or of another token.

        Clients may be back before the gateway has noticed that they were gone: their old connection ends first.
        """
        known = self._held.get(key) or self._lost.get(key)
        if known is None or known.token != token:
            return None
        held = self._held.get(key)
        if held is not None:
            held.give_up()
            await set_within(held.over, self._give_up_timeout_s)
        self._forget_overdue()
        return self._lost.pop(key, None)

    @property
    def lost_conversations(self) -> int:
        """How many are kept for clients who may come back."""
        return len(self._lost)

    def _keep(self, conversation: Conversation) -> None:
        conversation.deadline_s = self._clock.time() + self._keep_s
        self._lost[conversation.key] = conversation
        if len(self._lost) > self._most_lost:
            del self._lost[next(iter(self._lost))]
        self._forget_overdue()

    def _forget_overdue(self) -> None:
        """Forgets what is past its deadline, and wakes up for the next."""
        now_s = self._clock.time()
        while (first := next(iter(self._lost.values()), None)) is not None and first.deadline_s <= now_s:
            del self._lost[first.key]
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None if first is None else self._clock.call_at(first.deadline_s, self._forget_overdue)
