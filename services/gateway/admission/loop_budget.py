"""Time of the event loop that calls may take by what they send: each what a call needs, all that want more one share.

Who sends more than the loop has time for waits, and what they send waits in their own connection; nobody else does. Who
has waited for long is no call but a flood, and ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from enum import Enum
from typing import TypeVar

from moshi_cluster.services.common.errors import OverQuota
from moshi_cluster.services.gateway.admission.rate_limits import Pace, RateQuota
from moshi_cluster.services.gateway.admission.turns import Turns

T = TypeVar("T")

MESSAGE_S = 0.0001
"""What gRPC takes for a message before the gateway sees it."""
EVENT_S = 0.0003
"""What it takes to answer a control."""

# What each may have of the loop's time, and at once.
_AUDIO_SHARE, _AUDIO_AT_ONCE_S = 0.04, 0.2  # 100 packets a second take 0.03
_LOOPBACK_SHARE = 0.016  # nobody speaks to anybody there, and 20 ms packets will do
_CONTROL_SHARE, _CONTROL_AT_ONCE_S = 0.005, 0.02  # ten a second
_PARSING_SHARE, _PARSING_AT_ONCE_S = 0.02, 0.02  # 50 pages a second take 0.005
_SPARE_SHARE, _SPARE_AT_ONCE_S = 0.1, 0.05
_WAIT_SHARE, _WAIT_AT_ONCE_S = 0.1, 3.0
_TURN_S = 0.001
_MOST_OF_A_MESSAGE_S = 0.1
"""What took longer was not the message: a collection of garbage came in between, or the machine stood still."""


class Spending(Enum):
    """What a call takes time for."""

    AUDIO = "audio"
    CONTROL = "control"


_TIME = "seconds of the loop"


def _empty(share: float, at_once_s: float, now_s: float) -> RateQuota:
    """Empty at first, or there would be some again for everybody who calls again."""
    return RateQuota(share, 0.0, _TIME, now_s, most=at_once_s)


class LoopBudget:
    """The loop of one gateway."""

    def __init__(self, now_s: float | None = None) -> None:
        """now_s: on the clock of `CallBudget.delay_s`; its start where absent."""
        self._spare = Pace(_SPARE_SHARE, _SPARE_AT_ONCE_S, time.monotonic() if now_s is None else now_s)
        self._turns = Turns()

    def call(self, now_s: float | None = None) -> CallBudget:
        """The budget of a call that begins."""
        return CallBudget(self._spare, self._turns, time.monotonic() if now_s is None else now_s)

    def parsing(self, now_s: float | None = None) -> ParsingBudget:
        """The budget of an HTTP connection that begins."""
        return ParsingBudget(self._spare, self._turns, time.monotonic() if now_s is None else now_s)


class ParsingBudget:
    """What the parsing of one HTTP connection may take: its own first, then of what all calls have in common."""

    def __init__(self, spare: Pace, turns: Turns, now_s: float) -> None:
        self.turns = turns
        """Of those who have had one and want more."""
        self._spare = spare
        self._own = _empty(_PARSING_SHARE, _PARSING_AT_ONCE_S, now_s)

    def delay_s(self, now_s: float, amount_s: float) -> float:
        """Counts time of the loop that was taken; how long to wait before any more is."""
        return 0.0 if self._own.has(now_s, amount_s) else self._spare.delay_s(now_s, amount_s)


class CallBudget:
    """What one call may take: its own first, for audio and for controls, then of what all calls have in common."""

    def __init__(self, spare: Pace, turns: Turns, now_s: float) -> None:
        self.turns = turns
        """Of those who have had one and want more."""
        self._spare = spare
        self._own = {
            Spending.AUDIO: _empty(_AUDIO_SHARE, _AUDIO_AT_ONCE_S, now_s),
            Spending.CONTROL: _empty(_CONTROL_SHARE, _CONTROL_AT_ONCE_S, now_s),
        }
        self._patience = RateQuota(_WAIT_SHARE, _WAIT_AT_ONCE_S, _TIME, now_s)

    def narrow(self, now_s: float | None = None) -> None:
        """The call turns out to be a loopback call, before it has sent anything."""
        began_s = time.monotonic() if now_s is None else now_s
        self._own[Spending.AUDIO] = _empty(_LOOPBACK_SHARE, _AUDIO_AT_ONCE_S, began_s)

    async def spend(self, amount_s: float, on: Spending) -> None:
        """Counts time of the loop, and waits until as much is there. Raises OverQuota as `delay_s` does."""
        if delay_s := self.delay_s(time.monotonic(), amount_s, on):
            await asyncio.sleep(delay_s)

    def delay_s(self, now_s: float, amount_s: float, on: Spending) -> float:
        """Counts time of the loop that was taken; how long to wait before any more is.

        Raises OverQuota when the call has waited for three seconds, and for more than a tenth of the time before.
        """
        amount_s = min(amount_s, _MOST_OF_A_MESSAGE_S)
        if self._own[on].has(now_s, amount_s):
            return 0.0
        delay_s = self._spare.delay_s(now_s, amount_s)
        if delay_s and not self._patience.has(now_s, delay_s):
            raise OverQuota("more than this gateway has time for", "TOO_MUCH_WORK")
        return delay_s


class LoopShare:
    """Turns of one connection on the loop: others get theirs every millisecond, and who is beyond the budget waits for
    the next one. What the loop does while the connection waits is not its own.
    """

    def __init__(self, budget: CallBudget) -> None:
        self._budget = budget
        self._began_s: float | None = None  # None: it waits
        self._used_s = 0.0  # and not counted yet
        self._taken_s = 0.0

    def begin(self) -> None:
        """The connection's turn begins, or goes on."""
        self._began_s = time.thread_time()

    def pause(self) -> None:
        """The connection waits, until `begin`."""
        if self._began_s is not None:
            self._used_s += time.thread_time() - self._began_s
            self._began_s = None

    async def aside(self, waiting: Awaitable[T]) -> T:
        """Waits for something in the middle of a turn."""
        self.pause()
        try:
            return await waiting
        finally:
            self.begin()

    async def give_way(self) -> None:
        """Lets others have their turn, if it is time; a new turn begins afterwards. Raises OverQuota for a flood."""
        self.pause()
        used_s, self._used_s = self._used_s, 0.0
        self._taken_s += used_s
        delay_s = self._budget.delay_s(time.monotonic(), used_s, Spending.AUDIO)
        if delay_s or self._taken_s > _TURN_S:
            self._taken_s = 0.0
            await asyncio.sleep(delay_s)
            await self._budget.turns.mine()
        self.begin()
