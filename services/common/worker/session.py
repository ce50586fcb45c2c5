"""A session of an engine, as the asyncio side sees it."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from moshi_cluster.services.common.errors import SessionError


@dataclass(frozen=True)
class Reply:
    """The answer to one frame and the time it took."""

    value: Any
    queue_s: float
    step_s: float
    batch_size: int


@dataclass(frozen=True)
class Waiting:
    """A frame on its way into a batch."""

    frame: Any
    arrival_s: float


class Session:
    """One slot as the asyncio side sees it: frames in, replies out, in order.

    The slot is held until `close`; results that arrive later find no reader and are dropped, so they can never reach
    the slot's next owner.
    """

    def __init__(self, slot: int, spec: Any, inflight_frames: int, enqueue: Callable[[Session, Waiting], None]) -> None:
        """enqueue: gives a frame to the engine that made this session. Made on the event loop that it serves."""
        self.slot = slot
        self.spec = spec
        self._enqueue = enqueue
        self._credits = asyncio.Semaphore(inflight_frames)
        self._replies: asyncio.Queue[Reply | SessionError | None] = asyncio.Queue()  # bounded by the credits
        self._unanswered = 0
        self._finishing = False
        # Shared with the engine thread, under the engine's lock.
        self.waiting: deque[Waiting] = deque()  # bounded by the credits
        self.next_arrival_s = math.inf  # when its next frame is expected: never, until one has come
        self.opened = False
        self.prepared = False
        self.ended = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def steppable(self) -> bool:
        """Whether the next step may take a frame from here."""
        return self.prepared and not self.ended and bool(self.waiting)

    async def submit(self, frame: Any) -> None:
        """Hands a frame to the engine; waits while too many are in flight."""
        await self._credits.acquire()
        self._unanswered += 1
        self._enqueue(self, Waiting(frame, time.monotonic()))

    def finish(self) -> None:
        """No more frames will come: `replies` ends after the last answer."""
        self._finishing = True
        if not self._unanswered:
            self._replies.put_nowait(None)

    async def replies(self) -> AsyncIterator[Reply]:
        """Every frame's reply, in order. Raises what `fail` was given."""
        while (item := await self._replies.get()) is not None:
            if isinstance(item, SessionError):
                raise item
            yield item
            self._credits.release()

    def deliver(self, reply: Reply) -> None:
        """Takes a reply from the engine (event loop side)."""
        self._unanswered -= 1
        self._replies.put_nowait(reply)
        if self._finishing and not self._unanswered:
            self._replies.put_nowait(None)

    def fail(self, error: SessionError) -> None:
        """It cannot go on: the engine broke, or the worker stops (event loop side)."""
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # somebody may have stopped waiting for it
        self._replies.put_nowait(error)
