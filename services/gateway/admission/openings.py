"""Openings: how many calls one client may begin, since each costs the others some time, also one broken off at once."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from moshi_cluster.services.common.errors import OverQuota
from moshi_cluster.services.gateway.admission.rate_limits import Pace

_MOST_WAIT_S = 3.0
_MOST_CLIENTS = 4096  # remembered, those of the last openings


class Openings:
    """So many at once and so many a second for each client; more wait for their turn, or are refused."""

    def __init__(self, per_s: float, at_once: int) -> None:
        self._per_s = per_s
        self._at_once = at_once
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    async def enter(self, client: str) -> None:
        """Returns when a call of this address may begin. Raises OverQuota when that would take too long."""
        if delay_s := self.delay_s(time.monotonic(), client):
            await asyncio.sleep(delay_s)

    def delay_s(self, now_s: float, client: str) -> float:
        """Counts an opening; how long it has to wait. Raises OverQuota, and does not count, when it is too long."""
        pace = self._paces.setdefault(client, Pace(self._per_s, self._at_once, now_s))
        self._paces.move_to_end(client)
        if len(self._paces) > _MOST_CLIENTS:
            self._paces.popitem(last=False)
        delay_s = pace.delay_s(now_s, 1.0)
        if delay_s > _MOST_WAIT_S:
            pace.delay_s(now_s, -1.0)
            raise OverQuota(
                "too many calls begun by this client; try again in a few seconds",
                "TOO_MANY_OPENINGS",
                round(1000 * _MOST_WAIT_S),
            )
        return delay_s
