"""Admission queue: clients that wait until a call can be taken."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from moshi_cluster.services.common.deadlines import set_within
from moshi_cluster.services.common.errors import NoFreeSlot
from moshi_cluster.services.gateway.admission.fair_order import FairOrder, Lane, Waiting
from moshi_cluster.services.gateway.metrics import GatewayMetrics

T = TypeVar("T")

Attempt = Callable[[], Awaitable[T]]
NotifyPosition = Callable[[int, int], Awaitable[None]]
"""Called with (position, how many wait): 1 is next, 0 has got what it waited for."""

_NOTIFY_INTERVAL_S = 5.0
_PHONE_PATIENCE_S = 1.0
_RETRY_S = 0.1  # a worker that looked free was not: its next report says more


class AdmissionQueue:
    """In a fair order, see FairOrder; bounded, and everyone is told their position.

    Browsers wait for as long as it takes, telephones a little: those who wait would take every slot before a telephone
    asks again.
    """

    def __init__(
        self,
        limit: int,
        has_capacity: Callable[[], bool],
        metrics: GatewayMetrics,
        retry_after_ms: int,
        calls_of: Callable[[str], int] = lambda client: 0,
        notify_interval_s: float = _NOTIFY_INTERVAL_S,
        retry_s: float = _RETRY_S,
        phone_patience_s: float = _PHONE_PATIENCE_S,
    ) -> None:
        """limit: most that wait of each kind; 0 for a gateway without a queue. has_capacity: whether an attempt makes
        sense. calls_of: how many calls a client holds.
        """
        self._limit = limit
        self._has_capacity = has_capacity
        self._metrics = metrics
        self._retry_after_ms = retry_after_ms
        self._notify_interval_s = notify_interval_s
        self._retry_s = retry_s
        self._patience_s = {Lane.WEB: math.inf, Lane.PHONE: phone_patience_s}
        self._order = FairOrder(calls_of)

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not len(self._order)

    def look_again(self) -> None:
        """Something may have changed: whether there is capacity, who holds how many calls, or what `check` says."""
        self._order.changed()
        for waiting in self._order.everybody():
            waiting.news.set()

    async def wait(self, attempt: Attempt[T], notify: NotifyPosition, check: Callable[[], None], who: Waiting) -> T:
        """The result of the first attempt that does not raise NoFreeSlot, made once it is the caller's turn.

        notify: called while waiting, at every change and every few seconds. check: called at every look; what it raises
        ends the wait. Raises NoFreeSlot when too many wait, or for as long as who telephones has patience. Cancelled,
        it gives up its position.
        """
        check()
        if self.is_empty and self._has_capacity():  # nobody to overtake
            with contextlib.suppress(NoFreeSlot):
                return await attempt()
        count = self._order.count(who.lane)
        if count >= self._limit:
            raise NoFreeSlot(
                "every slot is in use, and too many wait" if count else "every slot is in use",
                self._retry_after_ms,
                waiting=count,
            )
        self._order.add(who)
        self._changed()
        served = False
        try:
            result = await self._until_next(who, attempt, notify, check)
            served = True
        finally:
            self._order.remove(who, served)
            self._changed()
        await notify(0, self._order.count(who.lane))
        return result

    def _changed(self) -> None:
        self._metrics.waiting.set(len(self._order))
        self.look_again()

    async def _until_next(
        self, who: Waiting, attempt: Attempt[T], notify: NotifyPosition, check: Callable[[], None]
    ) -> T:
        notified: tuple[int, int] | None = None
        notify_again_s = -math.inf
        clock = asyncio.get_running_loop().time
        give_up_s = clock() + self._patience_s[who.lane]
        while True:
            who.news.clear()
            check()
            if self._order.is_next(who) and self._has_capacity():
                try:
                    return await attempt()
                except NoFreeSlot:
                    await asyncio.sleep(self._retry_s)
            if clock() >= give_up_s:
                raise NoFreeSlot("every slot is in use, and others wait as well", self._retry_after_ms)
            position = (self._order.position(who), self._order.count(who.lane))
            if position != notified or clock() >= notify_again_s:
                await notify(*position)
                notified, notify_again_s = position, clock() + self._notify_interval_s
            else:
                await set_within(who.news, min(notify_again_s, give_up_s) - clock())
