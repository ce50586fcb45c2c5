"""Turns on the event loop: of those who want more than one, one a round, so that a hundred hold nobody up for long."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Turn:
    """A place in the line."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Gives it up."""
        self._callback = None

    def take(self) -> bool:
        """Calls back; whether somebody was waiting."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
        return callback is not None


class Turns:
    """A line for each round of the loop's first; in it are at most as many as there are connections."""

    def __init__(self) -> None:
        self._line: deque[Turn] = deque()
        self._is_running = False

    def soon(self, callback: Callable[[], None]) -> Turn:
        """Calls back when it is its turn, in another round of the loop than any other."""
        turn = Turn(callback)
        self._line.append(turn)
        self._run_on()
        return turn

    async def mine(self) -> None:
        """Returns when it is the caller's turn."""
        is_mine = asyncio.get_running_loop().create_future()
        turn = self.soon(lambda: None if is_mine.done() else is_mine.set_result(None))
        try:
            await is_mine
        finally:
            turn.cancel()

    def _run_on(self) -> None:
        if self._line and not self._is_running:
            self._is_running = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._is_running = False
        try:
            while self._line and not self._line.popleft().take():
                pass
        finally:
            self._run_on()
