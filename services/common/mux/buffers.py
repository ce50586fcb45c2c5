"""Buffers at either end of the stream multiplexer: many streams' items in few messages (trunk.proto).

Why not one gRPC stream per session and hop: a message costs each side 0.1 to 0.2 ms whatever its size, and a step
answers many sessions at one moment. With 16 callers on two cores that was a quarter of all work.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import grpc

from moshi_cluster.services.common.deadlines import set_within
from moshi_cluster.v1 import trunk_pb2

INBOX_MESSAGES = 64
"""Unread messages of one stream; the sessions' own limits (frames in flight) are far below."""

_BUNDLE_BYTES = 128 * 1024  # a bundle is closed once it is this large

CODES = {code.value[0]: code for code in grpc.StatusCode}


def max_bundle_bytes(max_message_bytes: int) -> int:
    """The largest bundle that can come when no message in it is larger than `max_message_bytes`."""
    return _BUNDLE_BYTES + 2 * max_message_bytes


@dataclass(frozen=True)
class End:
    """How a stream ended."""

    code: grpc.StatusCode
    text: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)


class Inbox:
    """What came for one stream and was not read yet: messages, then its end."""

    def __init__(self) -> None:
        self._items: deque[bytes] = deque()
        self._end: End | None = None
        self._arrived = asyncio.Event()

    @property
    def end(self) -> End | None:
        """How the stream ended; None while it goes on."""
        return self._end

    def put(self, message: bytes) -> bool:
        """Takes a message; False when there are too many unread ones."""
        if len(self._items) >= INBOX_MESSAGES:
            return False
        if self._end is None:
            self._items.append(message)
            self._arrived.set()
        return True

    def close(self, end: End) -> None:
        """Nothing more will come; what came before can still be read."""
        if self._end is None:
            self._end = end
            self._arrived.set()

    async def get(self) -> bytes | End:
        """The next message, the end after the last one."""
        while not self._items:
            if self._end is not None:
                return self._end
            self._arrived.clear()
            await self._arrived.wait()
        return self._items.popleft()


class Outbox:
    """What waits to leave. One task sends it, bundle by bundle: whatever was put meanwhile shares the next one."""

    def __init__(self, items_max: int = 4096, stalled_s: float = 10.0) -> None:
        """items_max: unsent items of all streams, past which writers wait and the peer's items are left unread.

        stalled_s: a peer that leaves it full for this long has stalled.
        """
        self._items_max = items_max
        self._stalled_s = stalled_s
        self._closed = False
        self._items: deque[trunk_pb2.TrunkItem] = deque()
        self._waiting = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._full = asyncio.Event()  # the opposite
        self._all_sent = asyncio.Event()
        self._all_sent.set()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_full(self) -> bool:
        """Whether nobody should put anything before the peer has taken something."""
        return self._full.is_set()

    def put(self, item: trunk_pb2.TrunkItem) -> None:
        """Adds an item; once closed, forgets it."""
        if self._closed:
            return
        self._items.append(item)
        self._waiting.set()
        self._all_sent.clear()
        if len(self._items) >= self._items_max:
            self._set_full(True)

    def close(self) -> None:
        """The peer is lost: nobody waits to put any longer, and nothing more is kept."""
        self._closed = True
        self._items.clear()
        self._set_full(False)

    async def until_writable(self) -> None:
        """Returns once the peer has taken enough that another message may be put."""
        await self._writable.wait()

    async def until_stalled(self) -> None:
        """Returns once the peer has taken too little for too long."""
        while True:
            await self._full.wait()
            if not await set_within(self._writable, self._stalled_s):
                return

    async def all_sent(self) -> None:
        """Returns once nothing is left to send."""
        await self._all_sent.wait()

    async def send(self, write: Callable[[trunk_pb2.TrunkBundle], Awaitable[None]]) -> None:
        """Writes bundles until cancelled; raises what `write` raises."""
        while True:
            await self._waiting.wait()
            await write(self._take())
            if not self._items:
                self._all_sent.set()

    def _take(self) -> trunk_pb2.TrunkBundle:
        bundle, size_bytes = trunk_pb2.TrunkBundle(), 0
        while self._items and size_bytes < _BUNDLE_BYTES:
            item = self._items.popleft()
            size_bytes += len(item.message)
            bundle.items.append(item)
        if not self._items:
            self._waiting.clear()
        if self.is_full and len(self._items) < self._items_max:
            self._set_full(False)
        return bundle

    def _set_full(self, full: bool) -> None:
        (self._full if full else self._writable).set()
        (self._writable if full else self._full).clear()
