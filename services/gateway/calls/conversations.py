"""Conversations of a gateway: begun with their calls, kept when these are lost, taken up by who comes back for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from moshi_cluster.services.common.errors import CannotResume, LimitReached, TakenOver, session_error
from moshi_cluster.services.gateway.calls.conversation import Conversation
from moshi_cluster.services.gateway.calls.resumption import Resumption
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings


class Conversations:
    """What the transports share of conversations that may outlive their connection."""

    def __init__(self, settings: GatewaySettings, metrics: GatewayMetrics, can_go_on: Callable[[str], bool]) -> None:
        """can_go_on: whether a conversation made with this lm checkpoint has a worker, or might have one."""
        self.keep_s = settings.resume_keep_s
        """For how long a lost one may be resumed; 0: none is."""
        self._metrics = metrics
        self._can_go_on = can_go_on
        self._kept = Resumption(settings.resume_keep_s, most_lost=settings.max_sessions)

    async def take(self, key: str, token: str | None) -> Conversation:
        """The conversation that a key stands for, once, for `resumable`. Raises CannotResume.

        Who holds it still has their call ended. token: of the client that comes back.
        """
        try:
            conversation = await self._take(key, token)
        except CannotResume as error:
            self._metrics.resumed(error.reason.lower())
            raise
        self._metrics.resumed("memory")
        return conversation

    async def _take(self, key: str, token: str | None) -> Conversation:
        conversation = await self._kept.take(key, token)
        if conversation is None:
            raise CannotResume("the conversation is not known: too old, resumed, ended", "CONVERSATION_UNKNOWN")
        if not self._can_go_on(conversation.history.checkpoint):
            self._kept.give_back(conversation)
            raise CannotResume("no worker has the model of the conversation", "MODEL_GONE")
        return conversation

    def begin(self, conversation: Conversation) -> None:
        """Its call is up: from now on it can be resumed, if any can be."""
        if self.keep_s:
            conversation.has_begun, conversation.earlier = True, None
            self._kept.begin(conversation)

    @contextmanager
    def resumable(self, conversation: Conversation | None) -> Iterator[None]:
        """While inside, and a while after an end that nobody asked for, another connection may take the call up.

        What it goes on with can be taken up again if the call never begins. None: nothing is kept.
        """
        lost = False
        try:
            yield
        except BaseException as error:
            lost = not _is_final(error)
            raise
        finally:
            if conversation is not None:
                self._end(conversation, lost or conversation.cut_short)

    def _end(self, conversation: Conversation, lost: bool) -> None:
        if conversation.has_begun:
            self._kept.end(conversation, lost)
        elif conversation.earlier is not None:
            self._kept.give_back(conversation.earlier)

    @property
    def lost_conversations(self) -> int:
        """How many are kept in memory for clients who may come back."""
        return self._kept.lost_conversations


async def until_wanted(conversation: Conversation) -> NoReturn:
    """Raises TakenOver once another connection wants the conversation."""
    await conversation.wanted.wait()
    raise TakenOver("the conversation goes on over another connection")


def _is_final(error: BaseException) -> bool:
    """Whether a call that ends so is not resumed: a limit would be got round. Who is cancelled may come back."""
    if isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception):
        return False
    return isinstance(session_error(error), LimitReached)
