"""Standing queue of a far end that plays at its own pace: what waits there for no good and makes every answer late.

Asked five times a second how many packets wait, it says the fewest of a second: what always waited smooths no jitter.
"""

from __future__ import annotations

_ASK_EVERY_PACKETS = 10
_WINDOW_ANSWERS = 5
_KEPT_PACKETS = 2
"""What may stand: the packet just sent, and one for the jitter between two clocks."""


class StandingQueue:
    """The packets of one call that wait at the far end."""

    def __init__(self) -> None:
        self._to_skip = 0
        self._sent_packets = 0
        self._fewest: list[int] = []  # answers of this window

    def skips(self) -> bool:
        """Whether the next packet is to be left out."""
        if not self._to_skip:
            return False
        self._to_skip -= 1
        return True

    def asks(self) -> bool:
        """Whether to ask with this packet how many wait; counts it."""
        self._sent_packets += 1
        return self._sent_packets % _ASK_EVERY_PACKETS == 0

    def observe(self, waiting_packets: int) -> None:
        """Takes an answer."""
        self._fewest.append(waiting_packets)
        if len(self._fewest) >= _WINDOW_ANSWERS:
            self._to_skip = max(0, min(self._fewest) - _KEPT_PACKETS)
            self._fewest.clear()

    def forget(self) -> None:
        """The far end has thrown everything away."""
        self._to_skip = 0
        self._fewest.clear()
