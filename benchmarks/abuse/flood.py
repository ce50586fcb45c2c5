"""Flood: what abusive clients do to a gateway, each for as long as it is told to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ports:
    """Where the services of a cluster of this machine listen, each host:port."""

    gateway: str
    web: str  # the gateway's HTTP port
    lm: str
    token: str  # that the gateway asks for


@dataclass
class Tally:
    """What clients of a flood have done, and what came of it."""

    sent: int = 0
    """Messages, frames, requests or connections, whatever the flood is made of."""
    ends: Counter[str] = field(default_factory=Counter)
    """Times that the cluster ended or refused a client, by close code or status."""


Client = Callable[[Ports, Tally], Awaitable[None]]
"""One abusive client: does it once, up to the end that the cluster makes, and may raise OSError or EOFError."""

_PAUSE_S = 0.01


@dataclass(frozen=True)
class Flood:
    """One kind of abuse."""

    summary: str
    clients: Sequence[Client]  # at once


async def run(flood: Flood, ports: Ports, seconds: float) -> Tally:
    """All clients at once; one that is thrown out comes back at once, until the time is over."""
    tally = Tally()
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(_again_and_again(client, ports, tally) for client in flood.clients))
    except TimeoutError:
        pass
    return tally


async def _again_and_again(client: Client, ports: Ports, tally: Tally) -> None:
    while True:
        try:
            await client(ports, tally)
        except (OSError, EOFError) as error:
            tally.ends[type(error).__name__] += 1
        await asyncio.sleep(_PAUSE_S)
