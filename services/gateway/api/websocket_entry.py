"""Entry of WebSockets: who may open one, the upgrade, how many frames come, how it is closed; for every transport."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, cast

from aiohttp import WSCloseCode, WSMsgType, web

from moshi_cluster.services.common.errors import (
    Draining,
    InvalidInput,
    LimitReached,
    NoFreeSlot,
    OverQuota,
    SessionError,
    TakenOver,
    Unauthenticated,
)
from moshi_cluster.services.gateway.admission.trusted_proxies import TrustedProxies
from moshi_cluster.services.gateway.api.frame_meter import Admitting, FrameMeter
from moshi_cluster.services.gateway.api.origin import is_allowed
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.settings import GatewaySettings

_PING_INTERVAL_S = 20.0
_CLOSE_TIMEOUT_S = 2.0
_FORWARDED_FOR = "X-Forwarded-For"
# What is in these buffers is late already, and all that bounds it for a client that answers no pings.
_KERNEL_BUFFER_BYTES = 16 * 1024
_WRITE_BUFFER_BYTES = 2 * 1024

_CLOSE_CODES: dict[type[SessionError], int] = {
    LimitReached: WSCloseCode.OK,
    TakenOver: WSCloseCode.OK,
    Draining: WSCloseCode.GOING_AWAY,
    InvalidInput: WSCloseCode.POLICY_VIOLATION,
    Unauthenticated: WSCloseCode.POLICY_VIOLATION,
    OverQuota: WSCloseCode.TRY_AGAIN_LATER,
    NoFreeSlot: WSCloseCode.TRY_AGAIN_LATER,
}

_log = logging.getLogger(__name__)


class _Connected(Protocol):
    """A connection that knows whose it is."""

    address: str


@dataclass(frozen=True)
class Entered:
    """A WebSocket that was let in."""

    websocket: web.WebSocketResponse
    client: str  # their address
    frames: FrameMeter


class WebSocketEntry:
    """Lets WebSockets in; one for each transport that is carried by them."""

    def __init__(self, settings: GatewaySettings, manager: CallManager) -> None:
        self._settings = settings
        self._manager = manager
        self.allowed_origins = set(settings.allowed_origins)
        """Web sites whose pages may call, beside this server's own."""
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._sockets: set[web.WebSocketResponse] = set()

    def client(self, request: web.Request) -> str:
        """The client's address."""
        address = cast(_Connected, request.protocol).address
        return self._proxies.client(address, request.headers.getall(_FORWARDED_FOR, ()))

    @asynccontextmanager
    async def enter(self, request: web.Request, protocols: Sequence[str] = ()) -> AsyncIterator[Entered]:
        """Open for as long as the context lasts, and for whoever closes it. Raises HTTPException for pages of sites
        that are not allowed, and for who begins too many calls.
        """
        websocket = web.WebSocketResponse(
            timeout=_CLOSE_TIMEOUT_S,
            heartbeat=_PING_INTERVAL_S,
            protocols=protocols,
            autoping=False,  # they count as messages
            compress=False,  # audio does not shrink
            max_msg_size=self._settings.max_message_bytes,
            writer_limit=_WRITE_BUFFER_BYTES,
        )
        self._check(request, websocket)
        client = self.client(request)
        await self._take_opening(client)
        frames = FrameMeter(self._settings.max_messages_per_s)
        cast(Admitting, request.protocol).admit = frames.admit
        await websocket.prepare(request)
        _keep_buffers_short(request)
        self._sockets.add(websocket)
        try:
            yield Entered(websocket, client, frames)
        finally:
            self._sockets.discard(websocket)

    async def stop(self) -> None:
        """Closes what is left."""
        await asyncio.gather(*(close(websocket, WSCloseCode.GOING_AWAY) for websocket in self._sockets))

    def _check(self, request: web.Request, websocket: web.WebSocketResponse) -> None:
        """Raises HTTPException with nothing of the request in it."""
        if not is_allowed(request.headers, self.allowed_origins):
            self._manager.metrics.http_refused("origin")
            _log.warning("a page of another web site was refused; allowed_origins names those that may call")
            raise web.HTTPForbidden(text="pages of this web site may not call this server\n")
        if not websocket.can_prepare(request):
            self._manager.metrics.bad_request()
            raise web.HTTPBadRequest(text="expected a WebSocket\n")

    async def _take_opening(self, client: str) -> None:
        """Raises HTTPException for a client that begins too many."""
        try:
            await self._manager.openings.enter(client)
        except OverQuota as error:
            self._manager.metrics.http_refused("openings")
            retry_after_s = -(-(error.retry_after_ms or 0) // 1000)
            raise web.HTTPTooManyRequests(text=f"{error}\n", headers={"Retry-After": str(retry_after_s)}) from None


async def close(websocket: web.WebSocketResponse, code: int, last: Sequence[str | bytes] = ()) -> None:
    """Says the last messages, closes and waits a little for the client to agree, who may have stopped reading."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(2 * _CLOSE_TIMEOUT_S):
            for message in last:
                await send(websocket, message)
            await websocket.close(code=code)


async def send(websocket: web.WebSocketResponse, message: str | bytes) -> None:
    """Sends a message, unless the WebSocket is closed; waits while the client reads too slowly."""
    if websocket.closed:
        return
    if isinstance(message, str):
        await websocket.send_frame(message.encode(), WSMsgType.TEXT)
    else:
        await websocket.send_frame(message, WSMsgType.BINARY)


def close_code(error: SessionError) -> int:
    """The code of a WebSocket that is closed for this."""
    codes = (code for kind, code in _CLOSE_CODES.items() if isinstance(error, kind))
    return next(codes, WSCloseCode.INTERNAL_ERROR)


def is_goodbye(code: int | None) -> bool:
    """Whether the client has ended it: other codes come from proxies, sleeping pages and faults, none from what broke.

    aiohttp's `close_code` is 1000 as well where a connection ends without any.
    """
    return code == WSCloseCode.OK


def _keep_buffers_short(request: web.Request) -> None:
    if (transport := request.transport) is None:
        return
    transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
    if (connection := transport.get_extra_info("socket")) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER_BYTES)
