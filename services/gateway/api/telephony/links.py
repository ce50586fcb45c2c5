"""Links below a wire: one connection of a WebSocket or a TCP stream, as a row of messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aiohttp import WebSocketError, WSCloseCode, WSMsgType

from moshi_cluster.services.common.errors import CallerLost, InvalidInput, SessionError
from moshi_cluster.services.gateway.api.telephony.wire import Message
from moshi_cluster.services.gateway.api.websocket_entry import Entered, close, close_code, is_goodbye, send

_ENDS = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED)
_READ_BYTES = 4096
_CLOSE_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Ping:
    """A ping of the WebSocket itself; sent back as its pong."""

    payload: bytes


class Link(Protocol):
    """A connection. Who sends waits while the far end reads too slowly; what is sent to one that is gone is lost."""

    said_goodbye: bool
    """Whether the far end has ended it on purpose."""

    async def receive(self) -> Message | Ping | None:
        """The next message; None once there are no more. Raises InvalidInput for what is none."""

    async def send(self, message: Message | Ping) -> None:
        """Sends a message."""

    async def close(self, error: SessionError | None, failed: bool, last: Sequence[Message]) -> None:
        """Sends the last messages and closes: the call went well, ended with an error, or failed here."""

    async def until_flooded(self) -> None:
        """Raises OverQuota once more came than a wire's messages explain."""


class WebSocketLink:
    """A WebSocket that was let in."""

    def __init__(self, entered: Entered) -> None:
        self.said_goodbye = False
        self._websocket = entered.websocket
        self._frames = entered.frames

    async def receive(self) -> Message | Ping | None:
        """Passes over pongs: the heartbeat's own."""
        while (message := await self._websocket.receive()).type not in _ENDS:
            if message.type is WSMsgType.ERROR and isinstance(message.data, WebSocketError):
                raise InvalidInput("message", "is too large, or no message of a WebSocket")
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                data: Message = message.data
                return data
            if message.type is WSMsgType.PING:
                return Ping(message.data)
        self.said_goodbye = message.type is WSMsgType.CLOSE and is_goodbye(message.data)
        return None

    async def send(self, message: Message | Ping) -> None:
        """Sends it as text or binary."""
        with contextlib.suppress(ConnectionError):  # `receive` learns of it too
            if isinstance(message, Ping):
                await self._websocket.pong(message.payload)
            else:
                await send(self._websocket, message)

    async def close(self, error: SessionError | None, failed: bool, last: Sequence[Message]) -> None:
        """The code says how it went, as those of /api/chat do; who has left on purpose is wished well."""
        code = WSCloseCode.INTERNAL_ERROR if failed else WSCloseCode.OK
        if error is not None and not isinstance(error, CallerLost):
            code = WSCloseCode(close_code(error))
        await close(self._websocket, code, last)

    async def until_flooded(self) -> None:
        """Frames that never become a message count as well."""
        await self._frames.until_flooded()


class StreamLink:
    """A TCP stream; its messages are bytes, cut anywhere."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.said_goodbye = False
        self._reader = reader
        self._writer = writer

    async def receive(self) -> Message | None:
        """What has come. A stream that ends between its bytes was ended by the far end."""
        try:
            data = await self._reader.read(_READ_BYTES)
        except ConnectionError:
            return None
        self.said_goodbye = not data
        return data or None

    async def send(self, message: Message | Ping) -> None:
        """Bytes only."""
        assert isinstance(message, bytes), "a stream has no texts"
        if self._writer.is_closing():
            return  # uvloop raises RuntimeError for it, asyncio says nothing
        with contextlib.suppress(ConnectionError):
            self._writer.write(message)
            await self._writer.drain()

    async def close(self, error: SessionError | None, failed: bool, last: Sequence[Message]) -> None:
        """Waits a little for the far end to read, and leaves."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                for message in last:
                    await self.send(message)
                self._writer.close()
                await self._writer.wait_closed()
        self._writer.transport.abort()

    async def until_flooded(self) -> None:
        """Bytes are all there is, and counted by the share of the loop that they take."""
        await asyncio.Event().wait()
