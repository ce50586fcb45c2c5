"""The admission queue: clients that wait until a call can be taken."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from moshi_cluster.services.common.errors import NoFreeSlot
from moshi_cluster.services.gateway.metrics import GatewayMetrics

T = TypeVar("T")

Tell = Callable[[int, int], Awaitable[None]]  # (position, how many wait); 1 is next, 0: it is your turn

_TELL_INTERVAL_S = 5.0
_RETRY_S = 0.1  # a worker that looked free was not: its next report says more


class AdmissionQueue:
    """First come, first served; bounded, and everyone is told their position."""

    def __init__(self, limit: int, has_room: Callable[[], bool], metrics: GatewayMetrics, retry_after_ms: int) -> None:
        """limit: most that wait; 0 for a gateway without a queue. has_room: whether trying makes sense."""
        self._limit = limit
        self._has_room = has_room
        self._metrics = metrics
        self._retry_after_ms = retry_after_ms
        self._waiting: list[asyncio.Event] = []  # set when there is something to look at

    def look_again(self) -> None:
        """Something may have changed: whether there is room, or what `check` says."""
        for waiting in self._waiting:
            waiting.set()

    async def wait(self, attempt: Callable[[], Awaitable[T]], tell: Tell, check: Callable[[], None]) -> T:
        """The result of the first attempt that does not raise NoFreeSlot, made when it is the caller's turn.

        tell: called while waiting, at every change and every few seconds. check: called at every look; what it raises
        ends the wait. Raises NoFreeSlot when too many wait. Cancelled, it gives up its place.
        """
        check()
        if not self._waiting and self._has_room():  # nobody to overtake
            with contextlib.suppress(NoFreeSlot):
                return await attempt()
        if len(self._waiting) >= self._limit:
            line = f", and {len(self._waiting)} clients wait already" if self._waiting else ""
            raise NoFreeSlot(f"every slot is in use{line}", self._retry_after_ms)
        mine = asyncio.Event()
        self._waiting.append(mine)
        self._queue_changed()
        try:
            return await self._until_first(mine, attempt, tell, check)
        finally:
            self._waiting.remove(mine)
            self._queue_changed()

    def _queue_changed(self) -> None:
        self._metrics.waiting.set(len(self._waiting))
        self.look_again()

    async def _until_first(
        self, mine: asyncio.Event, attempt: Callable[[], Awaitable[T]], tell: Tell, check: Callable[[], None]
    ) -> T:
        told: tuple[int, int] | None = None
        tell_again_s = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            mine.clear()
            check()
            place = (self._waiting.index(mine) + 1, len(self._waiting))
            if place[0] == 1 and self._has_room():
                try:
                    result = await attempt()
                    break
                except NoFreeSlot:
                    await asyncio.sleep(_RETRY_S)
            if place != told or clock() >= tell_again_s:
                await tell(*place)
                told, tell_again_s = place, clock() + _TELL_INTERVAL_S
            else:
                await _set_within(mine, tell_again_s - clock())
        await tell(0, len(self._waiting) - 1)
        return result


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
