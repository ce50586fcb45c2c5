"""Telephone systems, simulated: one call each, of whatever wire.

What a simulator sends is written out in it, from the public documents of its system and not taken from the product;
what it receives it checks strictly and keeps in `heard`. Tests make it misbehave by what they let it send.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from moshi_cluster.audio.pcm import Samples
from tests.services.in_process import PATIENCE_S


@dataclass(frozen=True)
class Gateway:
    """Where a gateway is."""

    http: str  # host:port
    ports: Mapping[str, int] = field(default_factory=dict)  # of wires over TCP, by the wire's name


@dataclass(frozen=True)
class Heard:
    """Voice that came back."""

    at_s: float  # on the monotonic clock
    samples: Samples  # at the phone's rate


class Phone(ABC):
    """A telephone system with one call."""

    wire: str
    rate_hz = 8_000
    packet_ms = 20

    def __init__(self) -> None:
        self.spoil: Callable[[str | bytes], str | bytes] = lambda message: message
        """Changes what is sent, for a fuzz."""
        self.is_strict = True
        """Checks what it receives."""
        self.heard: list[Heard] = []
        self.clears = 0
        """How often the far end threw away what had not been played."""
        self.over = asyncio.Event()
        """The gateway has ended the call, or the connection."""

    @property
    def packet_samples(self) -> int:
        """Samples of one packet that it sends."""
        return self.rate_hz * self.packet_ms // 1000

    @property
    def sound(self) -> Samples:
        """All that came back."""
        return np.concatenate([np.empty(0, np.float32), *(heard.samples for heard in self.heard)])

    @abstractmethod
    async def dial(self, gateway: Gateway, parameters: Mapping[str, str]) -> None:
        """Connects and begins a call; parameters as the system carries them."""

    @abstractmethod
    async def say(self, samples: Samples) -> None:
        """Sends one packet of the caller's voice."""

    @abstractmethod
    async def press(self, digit: str) -> None:
        """The caller presses a key."""

    @abstractmethod
    async def hang_up(self) -> None:
        """The caller hangs up."""

    @abstractmethod
    async def close(self) -> None:
        """Leaves, whatever state the call is in. Raises what was wrong with what was received."""

    @abstractmethod
    async def transmit(self, message: str | bytes) -> None:
        """Puts a message on the connection; nothing happens once that is closed."""

    async def send(self, message: str | bytes) -> None:
        """Everything that the phone sends goes this way."""
        await self.transmit(self.spoil(message))

    def hear(self, samples: Samples) -> None:
        """Keeps what came."""
        self.heard.append(Heard(time.monotonic(), samples))

    async def until_heard(self, samples: int) -> None:
        """Returns once so much voice came in all."""
        async with asyncio.timeout(PATIENCE_S):
            while sum(heard.samples.size for heard in self.heard) < samples:
                assert not self.over.is_set(), "the call is over"
                await asyncio.sleep(0.001)

    async def until_over(self) -> None:
        """Returns once the gateway has closed."""
        async with asyncio.timeout(PATIENCE_S):
            await self.over.wait()


@asynccontextmanager
async def calling(phone: Phone, gateway: Gateway, **parameters: str) -> AsyncIterator[None]:
    """A call that has begun."""
    await phone.dial(gateway, parameters)
    try:
        yield
    finally:
        await phone.close()
