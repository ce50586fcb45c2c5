"""Frame meter of a WebSocket: counts frames by their headers (RFC 6455, section 5.2) before anything is parsed.

aiohttp tells of messages, and a client may send frames that never become one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from moshi_cluster.services.common.errors import OverQuota
from moshi_cluster.services.gateway.admission.rate_limits import message_quota, over_rate

_FRAMES_PER_MESSAGE = 2
_LENGTH_BYTES = {126: 2, 127: 8}
_MASK_BYTES = 4


class Admitting(Protocol):
    """A connection that asks before it parses."""

    admit: Callable[[bytes], bool]


class FrameMeter:
    """Lets bytes pass until they hold more frames than a quota allows, and none after that."""

    def __init__(self, messages_per_s: float) -> None:
        """messages_per_s: what the client may send; proxies may cut each message into a few frames."""
        self._messages_per_s = messages_per_s
        self._quota = message_quota(_FRAMES_PER_MESSAGE * messages_per_s, time.monotonic())
        self._header = bytearray()
        self._payload_left = 0
        self._flooded = asyncio.Event()

    async def until_flooded(self) -> None:
        """Raises OverQuota once there were too many frames."""
        await self._flooded.wait()
        raise over_rate("messages", self._messages_per_s)

    def admit(self, data: bytes) -> bool:
        """Whether these bytes, cut anywhere, may be parsed."""
        if self._flooded.is_set():
            return False
        try:
            self._count(data)
        except OverQuota:
            self._flooded.set()
        return not self._flooded.is_set()

    def _count(self, data: bytes) -> None:
        now_s = time.monotonic()
        at = 0
        while at < len(data):
            if self._payload_left:
                step = min(self._payload_left, len(data) - at)
                self._payload_left -= step
            else:
                step = self._header_bytes() - len(self._header)
                self._header += data[at : at + step]
                if len(self._header) == self._header_bytes():
                    self._payload_left = self._length()
                    self._header.clear()
                    self._quota.take(now_s)
            at += step

    def _header_bytes(self) -> int:
        """How long the header is, as far as it says so already."""
        if len(self._header) < 2:
            return 2
        masked, length = self._header[1] & 0x80, self._header[1] & 0x7F
        return 2 + _LENGTH_BYTES.get(length, 0) + (_MASK_BYTES if masked else 0)

    def _length(self) -> int:
        short = self._header[1] & 0x7F
        size = _LENGTH_BYTES.get(short, 0)
        return int.from_bytes(self._header[2 : 2 + size], "big") if size else short
