"""Transport of a connection that two may hold back: who speaks on it, and who sets its pace."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any


class HeldTransport:
    """A transport as the protocol on it sees it. Reading goes on while neither side holds it back."""

    def __init__(self, transport: asyncio.Transport, on_wanted: Callable[[], None]) -> None:
        """on_wanted: called when the protocol wants to read on."""
        self._transport = transport
        self._on_wanted = on_wanted
        self._paced = False
        self.is_wanted = True
        """Whether the protocol wants to read."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def pause_reading(self) -> None:
        """The protocol wants nothing for now."""
        self.is_wanted = False
        self._apply()

    def resume_reading(self) -> None:
        """The protocol wants to read on."""
        self.is_wanted = True
        self._apply()
        self._on_wanted()

    def hold(self, paced: bool) -> None:
        """Holds reading back for the pace, or no longer."""
        if paced != self._paced:
            self._paced = paced
            self._apply()

    def _apply(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is closing
            if self.is_wanted and not self._paced:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()
