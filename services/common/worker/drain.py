"""Drain of a worker: from the moment it is told to stop until nobody needs it any more.

It lingers first. Gateways learn that it drains, look for others and let go of it; until they have found one, or its
linger is over, it takes new sessions as before, so that a call which begins meanwhile is not refused.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol


class Alarm(Protocol):
    """What `Clock.call_at` has set."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time in seconds, and alarms, as an event loop has them."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Alarm: ...


class Drain:
    """Says whether a worker is draining, takes sessions and may end.

    It may end as soon as it holds no slot and no gateway watches it, or its linger is over and it holds no slot.
    """

    def __init__(
        self,
        linger_s: float,
        on_close: Callable[[], None],
        end_sessions: Callable[[], None],
        clock: Clock | None = None,
    ) -> None:
        """linger_s: how long it takes new sessions while gateways watch it; at most half of the grace, so that one that
        begins in the last moment is worth it.

        on_close: called when it takes no more. end_sessions: when the grace is over. clock: the loop if absent.
        """
        self.begun = asyncio.Event()
        """Set once the worker has been told to stop."""
        self.closed = asyncio.Event()
        """Set once it takes no new sessions."""
        self._linger_s = linger_s
        self._on_close = on_close
        self._end_sessions = end_sessions
        self._clock: Clock = asyncio.get_running_loop() if clock is None else clock
        self._stops_at_s = self._closes_at_s = math.inf
        self._alarms: list[Alarm] = []
        self._sessions = self._watches = 0
        self._over = asyncio.Event()

    def begin(self, grace_s: float) -> None:
        """Sessions have so long. Called again it may only shorten the linger."""
        self.cancel()
        now_s = self._clock.time()
        self._stops_at_s = now_s + grace_s
        self._closes_at_s = min(self._closes_at_s, now_s + min(self._linger_s, grace_s / 2))
        self._alarms = [
            self._clock.call_at(self._closes_at_s, self.close),
            self._clock.call_at(self._stops_at_s, self._end_sessions),
        ]
        self.begun.set()
        if self._closes_at_s <= now_s:
            self.close()
        self._look()

    def close(self) -> None:
        """The worker takes no new sessions from now on."""
        self.closed.set()
        self._on_close()
        self._look()

    def needed_by(self, sessions: int, watches: int) -> None:
        """Takes the number of slots held, and of gateways that watch the worker; call whenever one changes."""
        self._sessions, self._watches = sessions, watches
        self._look()

    def cancel(self) -> None:
        """Nothing happens by itself any more."""
        for alarm in self._alarms:
            alarm.cancel()

    @property
    def grace_left_s(self) -> float:
        """How long sessions still have; endless while it does not drain."""
        return max(0.0, self._stops_at_s - self._clock.time())

    @property
    def linger_left_s(self) -> float:
        """How long new sessions are still taken; endless while it does not drain."""
        return 0.0 if self.closed.is_set() else max(0.0, self._closes_at_s - self._clock.time())

    async def until_over(self) -> None:
        """Returns once the worker may end."""
        await self._over.wait()

    def _look(self) -> None:
        if self.begun.is_set() and not self._sessions and (self.closed.is_set() or not self._watches):
            self.closed.set()
            self._over.set()
