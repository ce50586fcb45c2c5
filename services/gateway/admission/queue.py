"""Admission queue: clients that wait until a call can be taken."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from moshi_cluster.services.common.deadlines import set_within
from moshi_cluster.services.common.errors import NoFreeSlot
from moshi_cluster.services.gateway.metrics import GatewayMetrics

T = TypeVar("T")

Attempt = Callable[[], Awaitable[T]]
NotifyPosition = Callable[[int, int], Awaitable[None]]
"""Called with (position, how many wait): 1 is next, 0 has got what it waited for."""

_NOTIFY_INTERVAL_S = 5.0
_RETRY_S = 0.1  # a worker that looked free was not: its next report says more


class AdmissionQueue:
    """First come, first served; bounded, and everyone is told their position."""

    def __init__(
        self,
        limit: int,
        has_capacity: Callable[[], bool],
        metrics: GatewayMetrics,
        retry_after_ms: int,
        notify_interval_s: float = _NOTIFY_INTERVAL_S,
        retry_s: float = _RETRY_S,
    ) -> None:
        """limit: most that wait; 0 for a gateway without a queue. has_capacity: whether an attempt makes sense."""
        self._limit = limit
        self._has_capacity = has_capacity
        self._metrics = metrics
        self._retry_after_ms = retry_after_ms
        self._notify_interval_s = notify_interval_s
        self._retry_s = retry_s
        self._waiting: list[asyncio.Event] = []  # set when there is something to look at

    def look_again(self) -> None:
        """Something may have changed: whether there is capacity, or what `check` says."""
        for waiting in self._waiting:
            waiting.set()

    async def wait(self, attempt: Attempt[T], notify: NotifyPosition, check: Callable[[], None]) -> T:
        """The result of the first attempt that does not raise NoFreeSlot, made once nobody waits before the caller.

        notify: called while waiting, at every change and every few seconds. check: called at every look; what it raises
        ends the wait. Raises NoFreeSlot when too many wait. Cancelled, it gives up its position.
        """
        check()
        if not self._waiting and self._has_capacity():  # nobody to overtake
            with contextlib.suppress(NoFreeSlot):
                return await attempt()
        if len(self._waiting) >= self._limit:
            others = f", and {len(self._waiting)} clients wait already" if self._waiting else ""
            raise NoFreeSlot(f"every slot is in use{others}", self._retry_after_ms)
        mine = asyncio.Event()
        self._waiting.append(mine)
        self._changed()
        try:
            return await self._until_first(mine, attempt, notify, check)
        finally:
            self._waiting.remove(mine)
            self._changed()

    def _changed(self) -> None:
        self._metrics.waiting.set(len(self._waiting))
        self.look_again()

    async def _until_first(
        self, mine: asyncio.Event, attempt: Attempt[T], notify: NotifyPosition, check: Callable[[], None]
    ) -> T:
        notified: tuple[int, int] | None = None
        notify_again_s = -math.inf
        clock = asyncio.get_running_loop().time
        while True:
            mine.clear()
            check()
            position = (self._waiting.index(mine) + 1, len(self._waiting))
            if position[0] == 1 and self._has_capacity():
                try:
                    result = await attempt()
                    break
                except NoFreeSlot:
                    await asyncio.sleep(self._retry_s)
            if position != notified or clock() >= notify_again_s:
                await notify(*position)
                notified, notify_again_s = position, clock() + self._notify_interval_s
            else:
                await set_within(mine, notify_again_s - clock())
        await notify(0, len(self._waiting) - 1)
        return result
