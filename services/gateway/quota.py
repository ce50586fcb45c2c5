"""What one client may ask of a gateway: packets per second of a call, calls at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from services.common.errors import OverQuota

_BURST_S = 2.0  # a stalled network delivers this much at once without being taken for a flood


class PacketQuota:
    """A token bucket: `packets_per_s` on average, a burst of two seconds' worth. Times in seconds, monotonic."""

    def __init__(self, packets_per_s: float, start_s: float) -> None:
        self._packets_per_s = packets_per_s
        self._most = packets_per_s * _BURST_S
        self._left = self._most
        self._last_s = start_s

    def take(self, now_s: float) -> None:
        """Counts a packet. Raises OverQuota."""
        self._left = min(self._most, self._left + (now_s - self._last_s) * self._packets_per_s)
        self._last_s = now_s
        if self._left < 1:
            raise OverQuota(f"more than {self._packets_per_s:g} messages a second")
        self._left -= 1


class ClientQuota:
    """Calls at a time per client. A client is an address without its port."""

    def __init__(self, sessions_per_client: int) -> None:
        self._most = sessions_per_client
        self._sessions: Counter[str] = Counter()

    @contextmanager
    def session(self, peer: str) -> Iterator[None]:
        """A call of this peer ("ipv4:10.0.0.1:5000") for as long as the context lasts. Raises OverQuota."""
        client = peer.rpartition(":")[0]
        if self._sessions[client] >= self._most:
            raise OverQuota(f"this client already holds its {self._most} calls")
        self._sessions[client] += 1
        try:
            yield
        finally:
            self._sessions[client] -= 1
            if not self._sessions[client]:
                del self._sessions[client]
