"""Pacing of packets: each at its own time on one schedule."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable


async def paced(
    offsets_s: Iterable[float],
    begin_s: float,
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[float, None]:
    """Moments at `begin_s` plus each offset, when they have come: one that is late delays none behind it.

    now_s, sleep: the clock that begin_s is of.
    """
    for offset_s in offsets_s:
        due_s = begin_s + offset_s
        if (early_s := due_s - now_s()) > 0:
            await sleep(early_s)
        yield due_s
