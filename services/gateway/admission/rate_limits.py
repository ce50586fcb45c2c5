"""Rate limits: messages and audio per second of one call, calls at a time of one client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from moshi_cluster.services.common.errors import OverQuota

_BURST_S = 2.0
_AUDIO_RATE, _AUDIO_BURST_S = 1.25, 1.0
_LONGEST_STALL_S = 30.0  # of a network; keepalive gives the connection up before


class RateQuota:
    """A token bucket: so much a second on average, and a burst. Times in seconds, monotonic."""

    def __init__(self, per_s: float, burst: float, what: str, start_s: float, most: float | None = None) -> None:
        """burst: the most at the start; most: ever, if that is more; what: the unit, for the message."""
        self._per_s = per_s
        self._left = burst
        self._most = burst if most is None else most
        self._what = what
        self._last_s = start_s

    def take(self, now_s: float, amount: float = 1.0) -> None:
        """Counts an amount. Raises OverQuota."""
        if not self.has(now_s, amount):
            raise over_rate(self._what, self._per_s)

    def has(self, now_s: float, amount: float) -> bool:
        """Counts an amount if there is as much; whether there was."""
        self._left = min(self._most, self._left + (now_s - self._last_s) * self._per_s)
        self._last_s = now_s
        if self._left < amount:
            return False
        self._left -= amount
        return True


def over_rate(what: str, per_s: float) -> OverQuota:
    """The error of a call that sends more than it may. what: the unit."""
    return OverQuota(f"more {what} than one call may send", f"TOO_MANY_{what.upper()}", per_s=per_s)


class Pace:
    """A token bucket that makes wait: so much a second on average, and a burst. Times in seconds, monotonic."""

    def __init__(self, per_s: float, burst: float, start_s: float, most: float | None = None) -> None:
        """burst: the most at the start; most: ever, if that is more."""
        self._per_s = per_s
        self._left = burst
        self._most = burst if most is None else most
        self._last_s = start_s

    def delay_s(self, now_s: float, amount: float) -> float:
        """Counts an amount that was used; how long to wait before any more is."""
        self._left = min(self._most, self._left + (now_s - self._last_s) * self._per_s) - amount
        self._last_s = now_s
        return max(0.0, -self._left / self._per_s)


def message_quota(messages_per_s: float, start_s: float) -> RateQuota:
    """The messages of a call. Two seconds' worth at once, and after that all that the time since has allowed.

    So a network that stalls and then delivers what was sent meanwhile is not taken for a flood.
    """
    return RateQuota(
        messages_per_s, _BURST_S * messages_per_s, "messages", start_s, most=_LONGEST_STALL_S * messages_per_s
    )


def audio_pace(backlog_s: float, start_s: float) -> Pace:
    """The audio of a call, in seconds: who sends a file takes no more of the workers than a little more than one call.

    A quarter more than real time; at once a second, or what may wait if that is more, and after a stall of the
    network what was said meanwhile. backlog_s: how much of it may wait for the model.
    """
    burst_s = max(_AUDIO_BURST_S, _AUDIO_RATE * backlog_s)
    return Pace(_AUDIO_RATE, burst_s, start_s, most=max(burst_s, _LONGEST_STALL_S))


class ClientQuota:
    """Calls at a time per client. A client is an address."""

    def __init__(self, sessions_per_client: int) -> None:
        self._most = sessions_per_client
        self._sessions: Counter[str] = Counter()

    @contextmanager
    def session(self, client: str) -> Iterator[None]:
        """A call of this client for as long as the context lasts. Raises OverQuota."""
        if self._sessions[client] >= self._most:
            raise OverQuota("this client already holds all its calls", "TOO_MANY_CALLS", calls=self._most)
        self._sessions[client] += 1
        try:
            yield
        finally:
            self._sessions[client] -= 1
            if not self._sessions[client]:
                del self._sessions[client]
