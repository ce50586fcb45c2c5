"""Waits with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar

from moshi_cluster.services.common.errors import LimitReached

T = TypeVar("T")


async def within(work: Awaitable[T], timeout_s: float, problem: str) -> T:
    """Awaits work that must be done in time. Raises LimitReached with the problem."""
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except TimeoutError:
        raise LimitReached(problem, limit_s=timeout_s) from None


async def set_within(event: asyncio.Event, timeout_s: float | None) -> bool:
    """Waits until an event is set, at most so long; whether it is. None: for as long as it takes."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
    return event.is_set()
