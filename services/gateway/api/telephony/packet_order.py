"""Order of numbered packets: repeated ones are dropped, late ones waited for a little, lost ones become silence.

A packet is lost where a number is missing, and where a packet was spoken later than the one before it ended: then it
was lost before the far end numbered it. What comes in order passes at once. Behind a missing number at most `MOST_HELD`
packets wait; then it counts as lost. A call's clock fills in silence for whoever sends nothing, so only gaps too short
for it are filled here: a longer one is silence already when the next packet comes.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_HELD = 2
"""Packets behind a gap: 40 ms of the usual ones. More, and the call's clock would fill the gap beside them."""

_FARTHEST = 3000
"""A packet whose number is farther away belongs to a stream that was numbered anew: a minute of the usual ones."""


@dataclass
class PacketCounts:
    """Packets of one connection."""

    received: int = 0
    lost: int = 0  # did not come in time
    filled: int = 0  # of the lost, those for which there is silence
    reordered: int = 0  # came behind a later one, and in time
    repeated: int = 0
    late: int = 0  # of the lost, those that came after all


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of voice with its place in the stream."""

    data: bytes
    number: int
    time_ms: int | None = None


class PacketOrder:
    """The packets of one call."""

    def __init__(self, silence: bytes, bytes_per_ms: float, longest_fill_ms: float) -> None:
        """silence: a byte of it; empty: nothing is filled. longest_fill_ms: longer gaps are the call's to fill."""
        self.counts = PacketCounts()
        self._silence = silence
        self._bytes_per_ms = bytes_per_ms
        self._longest_fill_ms = longest_fill_ms
        self._last: Packet | None = None
        self._held: dict[int, Packet] = {}  # at most MOST_HELD
        self._lost: set[int] = set()  # no more than _FARTHEST back

    @property
    def is_holding(self) -> bool:
        """Whether packets wait behind a gap."""
        return bool(self._held)

    def push(self, packet: Packet) -> list[bytes]:
        """Takes a packet; what can be heard now, in order."""
        self.counts.received += 1
        if self._last is None or abs(packet.number - self._last.number) > _FARTHEST:
            return self._begin(packet)
        if packet.number <= self._last.number or packet.number in self._held:
            self._count_old(packet.number)
            return []
        self.counts.reordered += any(held > packet.number for held in self._held)
        self._held[packet.number] = packet
        return self._follow() + self.release(MOST_HELD)

    def release(self, most_held: int = 0) -> list[bytes]:
        """Gives up what is missing until no more than so many packets wait; what can be heard now."""
        heard: list[bytes] = []
        while len(self._held) > most_held:
            heard += self._pass_on(self._held.pop(min(self._held)))
            heard += self._follow()
        return heard

    def _begin(self, packet: Packet) -> list[bytes]:
        heard = self.release()
        self._lost.clear()
        self._last = None
        return heard + self._pass_on(packet)

    def _follow(self) -> list[bytes]:
        """What is next, as far as it is there."""
        heard = []
        while self._last is not None and self._last.number + 1 in self._held:
            heard += self._pass_on(self._held.pop(self._last.number + 1))
        return heard

    def _pass_on(self, packet: Packet) -> list[bytes]:
        """A packet behind silence for what is missing before it, if that is little."""
        last, self._last = self._last, packet
        missing = 0 if last is None else self._missing(last, packet)
        self.counts.lost += missing
        if not self._silence or missing * len(packet.data) > self._longest_fill_ms * self._bytes_per_ms:
            return [packet.data]
        self.counts.filled += missing
        return [*[self._silence * len(packet.data)] * missing, packet.data]

    def _missing(self, last: Packet, packet: Packet) -> int:
        numbers = range(last.number + 1, packet.number)
        self._lost = {lost for lost in self._lost if packet.number - lost <= _FARTHEST} | set(numbers)
        if last.time_ms is None or packet.time_ms is None or not packet.data:
            return len(numbers)
        gap_ms = packet.time_ms - last.time_ms - len(last.data) / self._bytes_per_ms
        return min(_FARTHEST, max(len(numbers), round(gap_ms * self._bytes_per_ms / len(packet.data))))

    def _count_old(self, number: int) -> None:
        if number in self._lost:
            self._lost.discard(number)
            self.counts.late += 1
        else:
            self.counts.repeated += 1
