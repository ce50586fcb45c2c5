"""Handler of /api/chat: WebSockets in front of the call manager, beside gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from dataclasses import dataclass
from typing import Protocol, cast

from aiohttp import WSCloseCode, web

from moshi_cluster.services.common.errors import (
    CannotResume,
    Draining,
    InvalidInput,
    LimitReached,
    NoFreeSlot,
    OverQuota,
    SessionError,
    TakenOver,
    Unauthenticated,
    session_error,
)
from moshi_cluster.services.gateway.admission.auth import bearer
from moshi_cluster.services.gateway.admission.trusted_proxies import TrustedProxies
from moshi_cluster.services.gateway.api.websocket import messages, metadata, subprotocol
from moshi_cluster.services.gateway.api.websocket.connection import WebSocketConnection
from moshi_cluster.services.gateway.api.websocket.frame_meter import Admitting, FrameMeter
from moshi_cluster.services.gateway.api.websocket.origin import is_allowed
from moshi_cluster.services.gateway.api.websocket.query import in_query_words, parse_query
from moshi_cluster.services.gateway.calls.conversation import Conversation
from moshi_cluster.services.gateway.calls.history import History
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
class _End:
    """How a connection is closed."""

    code: int
    error: str = ""


class WebSocketHandler:
    """Serves /api/chat: one connection is one call."""

    def __init__(self, settings: GatewaySettings, manager: CallManager) -> None:
        self._settings = settings
        self._manager = manager
        self.allowed_origins = set(settings.allowed_origins)
        """Web sites whose pages may call, beside this server's own."""
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._sockets: set[web.WebSocketResponse] = set()

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """The request's whole life. The upgrade succeeds, because browsers show a page nothing of one that does not;
        but not for pages of sites that are not allowed, and not for who begins too many calls.
        """
        websocket = web.WebSocketResponse(
            timeout=_CLOSE_TIMEOUT_S,
            heartbeat=_PING_INTERVAL_S,
            protocols=(subprotocol.NAME,),
            autoping=False,  # they count as messages
            compress=False,  # Opus does not shrink
            max_msg_size=self._settings.max_message_bytes,
            writer_limit=_WRITE_BUFFER_BYTES,
        )
        self._check(request, websocket)
        client = self._client(request)
        await self._enter(client)
        frames = FrameMeter(self._settings.max_messages_per_s)
        cast(Admitting, request.protocol).admit = frames.admit
        await websocket.prepare(request)
        _keep_buffers_short(request)
        self._sockets.add(websocket)
        try:
            end = await self._session(client, request, websocket, frames)
        finally:
            self._sockets.discard(websocket)
        await _close(websocket, end)
        return websocket

    async def stop(self) -> None:
        """Closes what is left."""
        await asyncio.gather(*(_close(websocket, _End(WSCloseCode.GOING_AWAY)) for websocket in self._sockets))

    def _check(self, request: web.Request, websocket: web.WebSocketResponse) -> None:
        """Raises HTTPException with nothing of the request in it."""
        if not is_allowed(request.headers, self.allowed_origins):
            self._manager.metrics.http_refused("origin")
            _log.warning("a page of another web site was refused; allowed_origins names those that may call")
            raise web.HTTPForbidden(text="pages of this web site may not call this server\n")
        if not websocket.can_prepare(request):
            self._manager.metrics.bad_request()
            raise web.HTTPBadRequest(text="expected a WebSocket\n")

    async def _enter(self, client: str) -> None:
        """Raises HTTPException for a client that begins too many."""
        try:
            await self._manager.openings.enter(client)
        except OverQuota as error:
            self._manager.metrics.http_refused("openings")
            retry_after_s = -(-(error.retry_after_ms or 0) // 1000)
            raise web.HTTPTooManyRequests(text=f"{error}\n", headers={"Retry-After": str(retry_after_s)}) from None

    async def _session(
        self, client: str, request: web.Request, websocket: web.WebSocketResponse, frames: FrameMeter
    ) -> _End:
        try:
            async with self._manager.session() as session_id:
                return await self._converse(session_id, client, request, websocket, frames)
        except Exception as error:
            known = session_error(error)
            if known is None:
                _log.exception("a connection failed")
                return _End(WSCloseCode.INTERNAL_ERROR, "the server failed")
            return _end_of(known)

    async def _converse(
        self, session_id: str, client: str, request: web.Request, websocket: web.WebSocketResponse, frames: FrameMeter
    ) -> _End:
        settings = self._settings
        token = _token(request)
        await self._manager.authenticate(token, client)
        asked = parse_query(request.query, settings, subprotocol.resume_key(request.headers))
        budget = self._manager.loop_budget.call()
        if asked.spec.loopback:
            budget.narrow()
        connection = WebSocketConnection(websocket, asked, settings, self._manager.metrics, budget)
        await connection.notify(metadata.server())
        conversation = await self._conversation(connection, token)
        with self._manager.conversations.resumable(conversation):
            if connection.asked.resume is not None:
                await connection.notify(metadata.resumed(conversation))
            async with asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(connection.receive()), tasks.create_task(frames.until_flooded())]
                reserve_in_queue = self._manager.reserve_in_queue(
                    client, connection.asked.spec, connection.notify_position, conversation.history
                )
                async with reserve_in_queue as reservation:
                    sides = connection.listen, connection.send
                    await self._manager.converse(session_id, reservation, *sides, conversation=conversation)
                for task in beside:
                    task.cancel()
        return _End(WSCloseCode.GOING_AWAY if connection.cut_short else WSCloseCode.OK)

    def _client(self, request: web.Request) -> str:
        """The client's address."""
        address = cast(_Connected, request.protocol).address
        return self._proxies.client(address, request.headers.getall(_FORWARDED_FOR, ()))

    async def _conversation(self, connection: WebSocketConnection, token: str | None) -> Conversation:
        """The conversation that the client comes back for, if it is one who does and it can go on; else a new one."""
        asked = connection.asked
        if asked.resume is not None:
            with contextlib.suppress(CannotResume):
                earlier = await self._manager.conversations.take(asked.resume, token)
                connection.asked = asked.going_on_with(earlier)
                return earlier.going_on()
        spec = asked.spec
        return Conversation(spec.sampling, asked.text_seed, asked.audio_seed, History(), token, spec.persona)


async def _close(websocket: web.WebSocketResponse, end: _End) -> None:
    """Says why, closes and waits a little for the client to agree, who may have stopped reading."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(2 * _CLOSE_TIMEOUT_S):
            if end.error and not websocket.closed:
                await websocket.send_bytes(messages.error(end.error))
            await websocket.close(code=end.code)


def _end_of(error: SessionError) -> _End:
    for kind, code in _CLOSE_CODES.items():
        if isinstance(error, kind):
            return _End(code, in_query_words(str(error)))
    return _End(WSCloseCode.INTERNAL_ERROR, str(error))


def _token(request: web.Request) -> str | None:
    """Browsers send no header of their own with a WebSocket; `worker_auth_id` is what Moshi's own page calls it."""
    query = request.query
    return bearer(request.headers.get("Authorization")) or query.get("token") or query.get("worker_auth_id")


def _keep_buffers_short(request: web.Request) -> None:
    if (transport := request.transport) is None:
        return
    transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
    if (connection := transport.get_extra_info("socket")) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER_BYTES)
