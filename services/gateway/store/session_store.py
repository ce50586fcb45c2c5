"""Session store: the conversations of all gateways of a cluster, so that any of them goes on with a lost one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.gateway.store import scripts
from moshi_cluster.services.gateway.store.entry import About, Entry, Phase, Times
from moshi_cluster.services.gateway.store.keys import StoreKeys
from moshi_cluster.services.gateway.store.record import Frames, Stored, open_head, open_record
from moshi_cluster.services.gateway.store.redis_client import RedisClient, Step, StoreAway
from moshi_cluster.services.gateway.store.scripts import Reply
from moshi_cluster.services.gateway.store.sealing import Damaged, Seal, name_of
from moshi_cluster.services.gateway.store.writer import StoreWriter

_TIMEOUT_S = 1.0
_LIVE_MARGIN_S = 5.0  # of a gateway that dies, the last write was an interval and a timeout ago at most
_LEASE_S = 15.0

_log = logging.getLogger(__name__)

Accepts = Callable[[Mapping[str, Any]], bool]  # whether somebody may have the conversation that this is about


class Taken(Exception):
    """Another gateway has the conversation."""


class SessionStore:
    """Writes the conversations of this gateway, and claims those of others."""

    def __init__(self, settings: GatewaySettings, metrics: GatewayMetrics) -> None:
        """Raises SettingError for a store that is none, or keys that cannot be read."""
        self._keys = StoreKeys.of_file(settings.session_store_key_file)
        self._client = _client(settings)
        self._times = _times(settings)
        self._metrics = metrics
        metrics.has_store()
        self._interval_s = settings.session_store_interval_s
        self._writer = StoreWriter(self._client, metrics, self._interval_s, most_waiting=2 * settings.max_sessions)
        self._task: asyncio.Task[NoReturn] | None = None

    def start(self, on_back: Callable[[], None]) -> None:
        """Begins to write. on_back: called when the store answers again, and may have lost what was written."""
        self._writer.on_back = on_back
        self._task = asyncio.create_task(self._writer.run())
        self._task.add_done_callback(_writer_over)

    async def until_lost_are_written(self) -> None:
        """Returns once no lost conversation waits to be written, however long the store is away."""
        await self._writer.until_lost_are_written()

    async def stop(self) -> None:
        """Writes what is left of lost conversations, for two seconds at most."""
        if self._task is not None:
            await self._writer.flush()
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._client.close()

    def begin(
        self, key: str, frames: Frames, about: About, on_taken: Callable[[], None], most_frames: int | None
    ) -> Entry:
        """A call is up: its conversation is stored from now on.

        key: for resumption. on_taken: called when another gateway goes on with it. most_frames: that its model looks
        back on.
        """
        seal = Seal(self._keys.for_writing, key)
        entry = Entry(name_of(key), seal, self._times, frames, about, on_taken, most_frames)
        self._writer.put(entry, Phase.LIVE)
        return entry

    def lose(self, entry: Entry) -> None:
        """Its call was lost, or who came back for it got none: somebody may come back for it, here or elsewhere."""
        self._writer.put(entry, Phase.LOST if entry.frames is not None else Phase.RELEASED)

    def retire(self, entry: Entry, on_taken: Callable[[], None]) -> None:
        """It goes on under another key. on_taken: called when it does somewhere else already."""
        entry.on_taken = on_taken
        self._writer.put(entry, Phase.RETIRED)

    def delete(self, entry: Entry) -> None:
        """Nobody will come back for it."""
        self._writer.put(entry, Phase.ENDED)

    async def claim_own(self, entry: Entry) -> None:
        """Keeps others from a conversation that this gateway has in memory. Raises Taken when one has it already.

        A store that does not answer keeps nobody from their conversation: that others have it is told later.
        """
        self._writer.put(entry, Phase.CLAIMED)
        if self._writer.is_away:
            return
        step = Step(scripts.CLAIM, entry.name, (entry.owner, self._times.lease_ms))
        try:
            (reply,) = await self._client.run([step])
        except StoreAway:
            return
        if reply is Reply.TAKEN:
            self._writer.forget(entry)
            raise Taken

    async def claim(self, key: str, accepts: Accepts) -> tuple[Entry, Stored] | None:
        """The conversation that a resumption key stands for, and nobody else's from now on; None: there is none.

        Raises Taken, StoreAway.
        """
        name = name_of(key)
        sealed = await self._client.head(name)
        seal = self._seal_of(key, sealed)
        if sealed is None or seal is None or not accepts(open_head(seal, sealed).about):
            return None
        entry = Entry(name, seal, self._times, None, dict)
        reply, fields = await self._client.claim(Step(scripts.CLAIM, name, (entry.owner, self._times.lease_ms)))
        if reply is Reply.TAKEN:
            raise Taken
        stored = self._opened(seal, fields) if reply is Reply.DONE else None
        if stored is None:
            return None
        self._writer.put(entry, Phase.CLAIMED)
        return entry, stored

    def _seal_of(self, key: str, head: bytes | None) -> Seal | None:
        """The seal that a head was made with."""
        for cluster_key in self._keys if head is not None else ():
            seal = Seal(cluster_key, key)
            try:
                seal.open("head", head or b"")
            except Damaged:
                continue
            return seal
        if head is not None:
            self._damaged("head")
        return None

    def _opened(self, seal: Seal, fields: Mapping[bytes, bytes]) -> Stored | None:
        try:
            return open_record(seal, fields)
        except Damaged as error:
            self._damaged(str(error))
            return None

    def _damaged(self, part: str) -> None:
        self._metrics.stored("damaged")
        _log.error("a record of the session store is damaged, or sealed with a key that is not here: part=%s", part)


def _writer_over(task: asyncio.Task[NoReturn]) -> None:
    """It runs until it is cancelled; calls go on without it."""
    if not task.cancelled():
        _log.critical("the session store is not written any more", exc_info=task.exception())


def _client(settings: GatewaySettings) -> RedisClient:
    try:
        return RedisClient(settings.session_store, _TIMEOUT_S)
    except ValueError:
        shown = settings.session_store.shown
        raise SettingError(f"MOSHI_GATEWAY_SESSION_STORE: expected redis://host:port, got {shown}") from None


def _times(settings: GatewaySettings) -> Times:
    live_s = settings.resume_keep_s + settings.session_store_interval_s + _LIVE_MARGIN_S
    in_seconds = (live_s, settings.resume_keep_s, _LEASE_S, settings.session_max_s)
    return Times(*(max(1, round(1000 * seconds)) for seconds in in_seconds))
