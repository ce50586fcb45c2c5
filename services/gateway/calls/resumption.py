"""Conversations whose connection may be lost, kept until their client comes back for them.

A session is its token history: with the same sampling and the history, any lm worker goes on where the last one was.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.v1 import common_pb2

_KEY_BYTES = 24
_GIVE_UP_TIMEOUT_S = 5.0


@dataclass(eq=False)
class Conversation:
    """What another connection needs to go on."""

    sampling: common_pb2.Sampling
    text_seed: int
    audio_seed: int
    history: History
    give_up: Callable[[], None]  # ends the connection that holds it
    key: str = field(default_factory=lambda: secrets.token_urlsafe(_KEY_BYTES))
    over: asyncio.Event = field(default_factory=asyncio.Event)  # no connection holds it


class Resumption:
    """The conversations of one gateway by the keys that their clients were told.

    Bounded by the gateway's calls: those that are up, and those that ended within the last `keep_s`.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._conversations: dict[str, Conversation] = {}

    def begin(self, conversation: Conversation) -> None:
        """A connection holds it from now on."""
        self._conversations[conversation.key] = conversation

    def end(self, conversation: Conversation, lost: bool) -> None:
        """No connection holds it any more. lost: its client may come back for it."""
        conversation.over.set()
        if lost:
            asyncio.get_running_loop().call_later(self._keep_s, self._forget, conversation.key)
        else:
            self._forget(conversation.key)

    def give_back(self, conversation: Conversation) -> None:
        """The connection that took it never got a call: its client may try again."""
        self._conversations[conversation.key] = conversation
        asyncio.get_running_loop().call_later(self._keep_s, self._forget, conversation.key)

    async def take(self, key: str) -> Conversation | None:
        """The conversation that this key stands for, once; None when it is unknown or too old.

        A client may be back before the gateway has noticed that he was gone: his old connection ends first.
        """
        conversation = self._conversations.get(key)
        if conversation is None:
            return None
        if not conversation.over.is_set():
            conversation.give_up()
            try:
                async with asyncio.timeout(_GIVE_UP_TIMEOUT_S):
                    await conversation.over.wait()
            except TimeoutError:
                return None
        return self._conversations.pop(key, None)

    def _forget(self, key: str) -> None:
        self._conversations.pop(key, None)
