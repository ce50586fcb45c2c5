"""Time of the event loop that calls may take by what they send: each a share of its own, all that want more one share.

Who sends more than the loop has time for waits, and what they send waits in their own connection; nobody else does.
"""

from __future__ import annotations

import asyncio
import time

from moshi_cluster.services.gateway.admission.rate_limits import Pace

MESSAGE_S = 0.0001
"""What gRPC takes for a message before the gateway sees it."""
EVENT_S = 0.00015
"""What it takes to send an event."""

_OWN_SHARE, _OWN_AT_ONCE_S = 0.02, 0.1  # 100 packets a second take about 0.015
_SPARE_SHARE, _SPARE_AT_ONCE_S = 0.15, 0.5


class LoopBudget:
    """The loop of one gateway."""

    def __init__(self, now_s: float | None = None) -> None:
        """now_s: on the clock of `CallBudget.delay_s`; its start where absent."""
        self._spare = Pace(_SPARE_SHARE, _SPARE_AT_ONCE_S, time.monotonic() if now_s is None else now_s)

    def call(self, now_s: float | None = None) -> CallBudget:
        """The budget of a call that begins."""
        return CallBudget(self._spare, time.monotonic() if now_s is None else now_s)


class CallBudget:
    """What one call may take: its own share first, then of what all calls have in common."""

    def __init__(self, spare: Pace, now_s: float) -> None:
        self._spare = spare
        self._left_s = 0.0  # anything else would be there again for who calls again
        self._last_s = now_s

    async def spend(self, amount_s: float) -> None:
        """Counts time of the loop, and waits until as much is there."""
        if delay_s := self.delay_s(time.monotonic(), amount_s):
            await asyncio.sleep(delay_s)

    def delay_s(self, now_s: float, amount_s: float) -> float:
        """Counts time of the loop that was taken; how long to wait before any more is."""
        self._left_s = min(_OWN_AT_ONCE_S, self._left_s + (now_s - self._last_s) * _OWN_SHARE)
        self._last_s = now_s
        if self._left_s < amount_s:
            return self._spare.delay_s(now_s, amount_s)
        self._left_s -= amount_s
        return 0.0
