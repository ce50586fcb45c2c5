"""Writer of the session store: a task beside the calls, which never wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from typing import NoReturn

from moshi_cluster.services.common.deadlines import set_within
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.store.entry import Entry, Phase
from moshi_cluster.services.gateway.store.redis_client import RedisClient, StoreAway
from moshi_cluster.services.gateway.store.scripts import Reply

_AT_ONCE = 8  # steps in a round trip: the loop is theirs for half a millisecond
_AWAY_S = 1.0
_FLUSH_TIMEOUT_S = 2.0
_TELL_INTERVAL_S = 60.0  # a store that is full refuses some steps and does others

_log = logging.getLogger(__name__)


class StoreWriter:
    """Writes what is due, the oldest first. What waits is in the histories themselves: nothing is copied into a queue.

    Bounded: by the calls, and by `most_waiting` records whose call is over; beyond, the oldest of those are left to
    expire.
    """

    def __init__(self, client: RedisClient, metrics: GatewayMetrics, interval_s: float, most_waiting: int) -> None:
        """interval_s: between two writes of a call."""
        self._client = client
        self._metrics = metrics
        self._interval_s = interval_s
        self._most_waiting = most_waiting
        self._entries: dict[Entry, None] = {}
        self._wake = asyncio.Event()
        self._written = asyncio.Event()
        self._away_since_s: float | None = None
        self._told_s = -math.inf
        self._is_told = False
        self.on_back: Callable[[], None] = lambda: None
        """Called when the store answers again after it was away: it may have lost what was written before."""
        metrics.store_waiting.set_function(self._late)

    @property
    def is_away(self) -> bool:
        """Whether the last step failed."""
        return self._away_since_s is not None

    def put(self, entry: Entry, phase: Phase) -> None:
        """Has the entry's step for this phase done as soon as the store allows."""
        entry.phase, entry.due_s = phase, asyncio.get_running_loop().time()
        self._entries.pop(entry, None)
        self._entries[entry] = None
        self._drop_beyond_limit()
        self._wake.set()

    def forget(self, entry: Entry) -> None:
        """Does no more for it."""
        self._entries.pop(entry, None)

    async def run(self) -> NoReturn:
        """Until cancelled."""
        while True:
            await self._until_due()
            await self._write(self._due()[:_AT_ONCE])

    async def until_lost_are_written(self) -> None:
        """Returns once no lost conversation waits to be written, however long the store is away."""
        while any(entry.phase is Phase.LOST for entry in self._entries):
            self._written.clear()
            await self._written.wait()

    async def flush(self) -> None:
        """Returns once nothing is left but what is live, or after two seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_TIMEOUT_S):
                while any(entry.phase.is_last for entry in self._entries) and not self.is_away:
                    self._written.clear()
                    await self._written.wait()

    async def _until_due(self) -> None:
        while not self._due():
            self._wake.clear()
            soonest_s = min((entry.due_s for entry in self._entries), default=None)
            now_s = asyncio.get_running_loop().time()
            await set_within(self._wake, None if soonest_s is None else max(0.0, soonest_s - now_s))

    def _due(self) -> list[Entry]:
        now_s = asyncio.get_running_loop().time()
        return sorted((entry for entry in self._entries if entry.due_s <= now_s), key=lambda entry: entry.due_s)

    async def _write(self, entries: list[Entry]) -> None:
        phases = [entry.phase for entry in entries]
        steps, dones = zip(*(entry.step() for entry in entries), strict=True)
        try:
            with self._metrics.store_s.time():
                replies = await self._client.run(steps)
        except StoreAway as error:
            self._failed(error, len(entries))
            await asyncio.sleep(_AWAY_S)
        else:
            self._answered(replies)
            for entry, phase, done, reply in zip(entries, phases, dones, replies, strict=True):
                if isinstance(reply, StoreAway):
                    entry.due_s = asyncio.get_running_loop().time() + _AWAY_S
                else:
                    done(reply)
                    self._done(entry, phase, reply)
        self._written.set()

    def _answered(self, replies: list[Reply | StoreAway]) -> None:
        """One refusal among others is that record's; a store that refuses everything, because it is full, is away."""
        failures = [reply for reply in replies if isinstance(reply, StoreAway)]
        if len(failures) == len(replies):
            self._failed(failures[0], len(failures))
        else:
            self._metrics.stored("failed", len(failures))
            self._back()

    def _done(self, entry: Entry, phase: Phase, reply: Reply) -> None:
        self._metrics.stored(reply.value)
        is_write = phase in (Phase.LIVE, Phase.LOST)
        if reply is Reply.TAKEN:
            self.forget(entry)
            entry.on_taken()
        elif entry.phase is not phase:
            pass  # something else is due by now
        elif reply is Reply.MISSING and is_write:
            entry.due_s = 0.0  # all of it, at once
        elif phase.is_last:
            self.forget(entry)
        else:
            entry.due_s = asyncio.get_running_loop().time() + self._interval_s

    def _failed(self, error: StoreAway, steps: int) -> None:
        self._metrics.stored("failed", steps)
        self._metrics.store_up.set(0)
        now_s = asyncio.get_running_loop().time()
        if self._away_since_s is None:
            self._away_since_s = now_s
        if not self._is_told and now_s >= self._told_s + _TELL_INTERVAL_S:
            self._told_s, self._is_told = now_s, True
            _log.error("the session store is away: %s; calls go on, and cannot be resumed on another gateway", error)

    def _back(self) -> None:
        self._metrics.store_up.set(1)
        if self._away_since_s is not None:
            away_s = asyncio.get_running_loop().time() - self._away_since_s
            self._away_since_s = None
            if self._is_told:
                self._is_told = False
                _log.warning("the session store is back after %.1f s; what it misses is written again", away_s)
            self.on_back()

    def _late(self) -> int:
        """How many records should have been written an interval ago."""
        late_s = asyncio.get_running_loop().time() - self._interval_s
        return sum(entry.due_s < late_s for entry in self._entries)

    def _drop_beyond_limit(self) -> None:
        waiting = list(self._over())
        for entry in waiting[: max(0, len(waiting) - self._most_waiting)]:
            self.forget(entry)
            self._metrics.stored("dropped")

    def _over(self) -> Iterator[Entry]:
        return (entry for entry in self._entries if entry.phase.is_last)
