"""Telephone systems that call over a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import aiohttp

from tests.services.gateway.api.telephony.simulators.phone import Gateway, Phone


class WebSocketPhone(Phone):
    """A phone over a WebSocket to /telephony/<wire>; `take` gets every message."""

    headers: Mapping[str, str] = {}
    protocols: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self._session: aiohttp.ClientSession | None = None
        self._reading: asyncio.Task[None] | None = None
        self.is_answered = False
        """Something came from the gateway."""
        self.socket: aiohttp.ClientWebSocketResponse

    async def connect(self, gateway: Gateway, query: Mapping[str, str] | None = None) -> None:
        """Opens the WebSocket. Raises WSServerHandshakeError when it is refused."""
        self._session = aiohttp.ClientSession()
        url = f"http://{gateway.http}/telephony/{self.wire}"
        try:
            options: Any = {"headers": self.headers, "protocols": self.protocols, "params": query or {}}
            self.socket = await self._session.ws_connect(url, **options)
        except BaseException:
            await self._session.close()
            raise
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        if self._session is not None:
            await self.socket.close()
            await self._session.close()
        if self._reading is not None:
            await self._reading

    async def transmit(self, message: str | bytes) -> None:
        with contextlib.suppress(ConnectionError):
            if not self.socket.closed:
                await (self.socket.send_str(message) if isinstance(message, str) else self.socket.send_bytes(message))

    @abstractmethod
    async def take(self, message: aiohttp.WSMessage) -> None:
        """Checks and takes a message."""

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                self.is_answered = True
                if self.is_strict:
                    await self.take(message)
        finally:
            self.over.set()
