"""Conversations of a gateway: begun with their calls, kept when these are lost, taken up by who comes back for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import NoReturn

from moshi_cluster.services.common.errors import CannotResume, LimitReached, TakenOver, Unavailable, session_error
from moshi_cluster.services.gateway.calls import stored
from moshi_cluster.services.gateway.calls.conversation import Conversation
from moshi_cluster.services.gateway.calls.resumption import Resumption
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.gateway.store.redis_client import StoreAway
from moshi_cluster.services.gateway.store.session_store import SessionStore, Taken


class Conversations:
    """What the transports share of conversations that may outlive their connection.

    Those of this gateway are in its memory, whole; a session store has them all, about a second behind.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        metrics: GatewayMetrics,
        can_go_on: Callable[[str], bool],
        store: SessionStore | None,
    ) -> None:
        """can_go_on: whether a conversation made with this lm checkpoint has a worker, or might have one."""
        self.keep_s = settings.resume_keep_s
        """For how long a lost one may be resumed; 0: none is."""
        self._metrics = metrics
        self._can_go_on = can_go_on
        self._retry_after_ms = settings.retry_after_ms
        self._kept = Resumption(settings.resume_keep_s, most_lost=settings.max_sessions)
        self._store = store

    def start(self) -> None:
        """Begins to store them."""
        if self._store is not None:
            self._store.start(self._store_lost_again)

    async def until_stored(self) -> None:
        """Returns once others can go on with the lost ones, or nobody may any more."""
        if self._store is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.keep_s):
                    await self._store.until_lost_are_written()

    async def stop(self) -> None:
        """Stores what is left of those that were lost."""
        if self._store is not None:
            await self._store.stop()

    # --- who comes back

    async def take(self, key: str, token: str | None) -> Conversation:
        """The conversation that a key stands for, once, for `resumable`.

        Who holds it still has their call ended. token: of the client that comes back. Raises CannotResume, and
        Unavailable when the session store does not answer.
        """
        try:
            place = "memory" if self._kept.knows(key) else "store"
            conversation = await (self._from_memory if place == "memory" else self._from_store)(key, token)
        except CannotResume as error:
            self._metrics.resumed(error.reason.lower())
            raise
        self._metrics.resumed(place)
        return conversation

    async def _from_memory(self, key: str, token: str | None) -> Conversation:
        conversation = await self._kept.take(key, token)
        if conversation is None:
            raise _unknown()
        try:
            if self._store is not None and conversation.entry is not None:
                await self._store.claim_own(conversation.entry)
            self._require_model(conversation)
        except Taken:
            raise _taken() from None
        except BaseException:
            self._give_back(conversation)
            raise
        return conversation

    async def _from_store(self, key: str, token: str | None) -> Conversation:
        if self._store is None:
            raise _unknown()
        try:
            claimed = await self._store.claim(key, partial(stored.is_of, token=token))
        except Taken:
            raise _taken() from None
        except StoreAway:
            self._metrics.resumed("store_away")
            raise Unavailable("the session store does not answer", self._retry_after_ms) from None
        if claimed is None:
            raise _unknown()
        entry, record = claimed
        conversation = stored.conversation_of(record, key, token)
        conversation.entry = entry
        try:
            self._require_model(conversation)
        except CannotResume:
            self._give_back(conversation)
            raise
        return conversation

    def _require_model(self, conversation: Conversation) -> None:
        if not self._can_go_on(conversation.history.checkpoint):
            raise CannotResume("no worker has the model of the conversation", "MODEL_GONE")

    def _give_back(self, conversation: Conversation) -> None:
        self._kept.give_back(conversation)
        if self._store is not None and conversation.entry is not None:
            self._store.lose(conversation.entry)

    # --- who has a call

    def begin(self, conversation: Conversation, context_frames: int | None) -> None:
        """Its call is up: from now on it can be resumed, if any can be. context_frames: that its lm looks back on."""
        if not self.keep_s:
            return
        earlier, conversation.earlier, conversation.has_begun = conversation.earlier, None, True
        self._kept.begin(conversation)
        if self._store is not None:
            about, elsewhere = partial(stored.about, conversation), partial(self._elsewhere, conversation)
            key, history = conversation.key, conversation.history
            conversation.entry = self._store.begin(key, history, about, elsewhere, context_frames)
            if earlier is not None and earlier.entry is not None:
                self._store.retire(earlier.entry, elsewhere)

    @contextmanager
    def resumable(self, conversation: Conversation) -> Iterator[None]:
        """While inside, and a while after an end that nobody asked for, another connection may take the call up.

        What it goes on with can be taken up again if the call never begins.
        """
        lost = False
        try:
            yield
        except BaseException as error:
            lost = not _is_final(error)
            raise
        finally:
            self._end(conversation, lost or conversation.cut_short)

    def _store_lost_again(self) -> None:
        """Those that wait for their caller: the store may have lost them."""
        for conversation in self._kept.lost:
            if self._store is not None and conversation.entry is not None:
                self._store.lose(conversation.entry)

    def _end(self, conversation: Conversation, lost: bool) -> None:
        if not conversation.has_begun:
            if conversation.earlier is not None:
                self._give_back(conversation.earlier)
            return
        self._kept.end(conversation, lost and not conversation.is_elsewhere)
        if self._store is not None and conversation.entry is not None:
            (self._store.lose if lost and not conversation.is_elsewhere else self._store.delete)(conversation.entry)

    def _elsewhere(self, conversation: Conversation) -> None:
        """Another gateway goes on with it: this one was halted, or its caller came back there first."""
        conversation.is_elsewhere = True
        conversation.wanted.set()
        self._kept.forget(conversation)

    @property
    def lost_conversations(self) -> int:
        """How many are kept in memory for clients who may come back."""
        return self._kept.lost_conversations


async def until_wanted(conversation: Conversation) -> NoReturn:
    """Raises TakenOver once another connection wants the conversation."""
    await conversation.wanted.wait()
    raise TakenOver("the conversation goes on over another connection")


def _unknown() -> CannotResume:
    return CannotResume("the conversation is not known: too old, resumed, ended", "CONVERSATION_UNKNOWN")


def _taken() -> CannotResume:
    return CannotResume("another connection takes the conversation up", "CONVERSATION_TAKEN")


def _is_final(error: BaseException) -> bool:
    """Whether a call that ends so is not resumed: a limit would be got round. Who is cancelled may come back."""
    if isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception):
        return False
    return isinstance(session_error(error), LimitReached)
