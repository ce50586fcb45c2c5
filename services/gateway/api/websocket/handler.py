"""Handler of /api/chat: WebSockets in front of the call manager, beside gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from aiohttp import WSCloseCode, web

from moshi_cluster.services.common.errors import CannotResume, SessionError, session_error
from moshi_cluster.services.gateway.admission.auth import bearer
from moshi_cluster.services.gateway.api.websocket import messages, metadata, subprotocol
from moshi_cluster.services.gateway.api.websocket.connection import WebSocketConnection
from moshi_cluster.services.gateway.api.websocket.query import in_query_words, parse_query
from moshi_cluster.services.gateway.api.websocket_entry import Entered, WebSocketEntry, close, close_code
from moshi_cluster.services.gateway.calls.conversation import Conversation
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.calls.record import CallRecord
from moshi_cluster.services.gateway.settings import GatewaySettings

_log = logging.getLogger(__name__)


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
        self.entry = WebSocketEntry(settings, manager)
        """Who may call."""

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """The request's whole life. The upgrade succeeds, because browsers show a page nothing of one that does not;
        but not for pages of sites that are not allowed, and not for who begins too many calls.
        """
        async with self.entry.enter(request, (subprotocol.NAME,)) as entered:
            end = await self._session(entered, request)
        await close(entered.websocket, end.code, [messages.error(end.error)] if end.error else [])
        return entered.websocket

    async def _session(self, entered: Entered, request: web.Request) -> _End:
        try:
            async with self._manager.session("websocket") as record:
                return await self._converse(record, entered, request)
        except Exception as error:
            known = session_error(error)
            if known is None:
                _log.exception("a connection failed")
                return _End(WSCloseCode.INTERNAL_ERROR, "the server failed")
            return _end_of(known)

    async def _converse(self, record: CallRecord, entered: Entered, request: web.Request) -> _End:
        settings, client = self._settings, entered.client
        token = _token(request)
        await self._manager.authenticate(record, token, client)
        asked = parse_query(request.query, settings, subprotocol.resume_key(request.headers))
        budget = self._manager.loop_budget.call()
        if asked.spec.loopback:
            budget.narrow()
        connection = WebSocketConnection(entered.websocket, asked, settings, self._manager.metrics, budget)
        await connection.notify(metadata.server())
        conversation = await self._conversation(connection, token)
        with self._manager.conversations.resumable(conversation):
            if connection.asked.resume is not None:
                await connection.notify(metadata.resumed(conversation))
            async with asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(connection.receive()), tasks.create_task(entered.frames.until_flooded())]
                reserve_in_queue = self._manager.reserve_in_queue(
                    client, connection.asked.spec, connection.notify_position, conversation.history
                )
                async with reserve_in_queue as reservation:
                    sides = connection.listen, connection.send
                    await self._manager.converse(record, reservation, *sides, conversation=conversation)
                for task in beside:
                    task.cancel()
        return _End(WSCloseCode.GOING_AWAY if connection.cut_short else WSCloseCode.OK)

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


def _end_of(error: SessionError) -> _End:
    code = close_code(error)
    return _End(code, str(error) if code == WSCloseCode.INTERNAL_ERROR else in_query_words(error))


def _token(request: web.Request) -> str | None:
    """Browsers send no header of their own with a WebSocket; `worker_auth_id` is what Moshi's own page calls it."""
    query = request.query
    return bearer(request.headers.get("Authorization")) or query.get("token") or query.get("worker_auth_id")
