"""Readiness: whether a service that has started can serve just now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


class Readiness:
    """A state and word of its changes. Most services are ready for as long as they run."""

    def __init__(self) -> None:
        self._ready = True
        self._changed = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """The state now."""
        return self._ready

    def set(self, ready: bool) -> None:
        """Call from the event loop."""
        if ready != self._ready:
            self._ready = ready
            self._changed.set()

    async def changes(self) -> AsyncIterator[bool]:
        """The state after every change, the latest wins; without an end, for one reader."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield self._ready
