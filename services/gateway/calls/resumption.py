"""Conversations whose connection was lost, kept in memory until their client comes back for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from moshi_cluster.services.common.deadlines import set_within
from moshi_cluster.services.gateway.calls.conversation import Conversation

_GIVE_UP_TIMEOUT_S = 5.0


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
            held.wanted.set()
            await set_within(held.over, self._give_up_timeout_s)
        self._forget_overdue()
        return self._lost.pop(key, None)

    def knows(self, key: str) -> bool:
        """Whether a conversation with this key is held, or kept."""
        return key in self._held or key in self._lost

    def forget(self, conversation: Conversation) -> None:
        """Nobody may come back for it here."""
        self._lost.pop(conversation.key, None)

    @property
    def lost(self) -> Iterable[Conversation]:
        """Those that are kept for clients who may come back."""
        return self._lost.values()

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
