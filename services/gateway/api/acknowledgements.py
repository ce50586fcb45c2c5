"""Acknowledgements: how much of the voice that was sent a client has not taken yet.

What waits in the kernel, in a proxy or in the client's library has left this server and is not heard. A ping between
the pages comes back as a pong once everything before it was read, so the voice on its way is counted and bounded.
"""

from __future__ import annotations

import asyncio

_PING_EVERY_S = 0.2
_NUMBER_BYTES = 8


class Acknowledgements:
    """Voice on its way to one client, in samples sent and samples acknowledged."""

    def __init__(self, rate_hz: int, most_s: float) -> None:
        """most_s: the voice that may be on its way; as long as no ping was ever answered, any amount."""
        self._most_samples = round(most_s * rate_hz)
        self._ping_every_samples = round(min(_PING_EVERY_S, most_s / 2) * rate_hz)
        self._sent_samples = self._pinged_samples = 0
        self._taken_samples: int | None = None
        self._changed = asyncio.Event()

    @property
    def on_its_way_samples(self) -> int:
        """Samples that were sent and not taken, as far as is known."""
        return 0 if self._taken_samples is None else self._sent_samples - self._taken_samples

    async def until_room(self) -> None:
        """Returns once more voice may be sent."""
        while self.on_its_way_samples >= self._most_samples:
            self._changed.clear()
            await self._changed.wait()  # ends with the call: its limits watch over what leaves it

    def close(self) -> None:
        """The client is gone: nobody waits for its pongs."""
        self._taken_samples = None
        self._changed.set()

    def sent(self, samples: int) -> bytes | None:
        """Counts voice that was sent; the payload of the ping to send now, if one is due."""
        self._sent_samples += samples
        if self._sent_samples - self._pinged_samples < self._ping_every_samples:
            return None
        return self.ping()

    def ping(self) -> bytes:
        """The payload of a ping that stands for all voice so far."""
        self._pinged_samples = self._sent_samples
        return self._sent_samples.to_bytes(_NUMBER_BYTES, "big")

    def pong(self, payload: bytes) -> None:
        """Takes the payload of a pong; those of pings that were not sent here mean nothing."""
        taken = int.from_bytes(payload, "big") if len(payload) == _NUMBER_BYTES else -1
        if (self._taken_samples or 0) <= taken <= self._pinged_samples:
            self._taken_samples = taken
            self._changed.set()
