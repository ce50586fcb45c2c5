"""Turns of calls that move to other workers of a service: a lost worker's calls all move at once."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_URGENT_AT_ONCE = 16  # of calls that are silent meanwhile
_OTHERS_AT_ONCE = 1  # their worker still answers: those that are opened cost the calls beside them as little as can be
_REST_MAX_S = 0.5  # behind a turn of those: what waited for a core meanwhile gets it


class MoveTurns:
    """Who has been talking longest goes first: where not all find room, the others end."""

    def __init__(self) -> None:
        self._urgent = _Line(_URGENT_AT_ONCE)
        self._others = _Line(_OTHERS_AT_ONCE)

    @asynccontextmanager
    async def turn(self, began_s: float, patience: asyncio.Timeout | None = None) -> AsyncIterator[None]:
        """A turn for as long as the context lasts. began_s: when the call began. patience: for how long it may wait
        among those that their worker still answers, until it is rescheduled; None: nobody answers it now.
        """
        line = await self._enter(began_s, patience)
        loop = asyncio.get_running_loop()
        entered_s = loop.time()
        try:
            yield
        finally:
            if line is self._others:
                loop.call_later(min(loop.time() - entered_s, _REST_MAX_S), line.leave)
            else:
                line.leave()

    async def _enter(self, began_s: float, patience: asyncio.Timeout | None) -> _Line:
        if patience is not None:
            with contextlib.suppress(TimeoutError):
                async with patience:
                    await self._others.enter(began_s)
                return self._others
        await self._urgent.enter(began_s)
        return self._urgent


class _Line:
    """Those who wait for a turn, and how many have one."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []  # a heap
        self._numbers = itertools.count()

    async def enter(self, began_s: float) -> None:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        heapq.heappush(self._waiting, (began_s, next(self._numbers), turn))
        loop.call_soon(self._grant)  # not at once: whoever comes at this moment, too, may have talked longer
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        self._free += 1
        self._grant()

    def _grant(self) -> None:
        while self._free and self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
