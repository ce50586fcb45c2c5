"""Calls of one wire: from what the wire says to a call of the manager, and to how the connection is closed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from moshi_cluster.services.common.errors import CannotResume, session_error
from moshi_cluster.services.gateway.admission.trusted_proxies import TrustedProxies
from moshi_cluster.services.gateway.api.telephony.connection import WireConnection
from moshi_cluster.services.gateway.api.telephony.links import Link
from moshi_cluster.services.gateway.api.telephony.options import CallOptions
from moshi_cluster.services.gateway.api.telephony.wire import Opening, Wire
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.conversation import Conversation
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.calls.record import CallRecord
from moshi_cluster.services.gateway.calls.spec import CallSpec, draw_seed
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import common_pb2

_log = logging.getLogger(__name__)


class WireCalls:
    """Serves the connections of one wire: each is one call."""

    def __init__(self, transport: str, settings: GatewaySettings, manager: CallManager) -> None:
        """transport: the wire's name, in metrics and logs."""
        self._transport = transport
        self._settings = settings
        self._manager = manager
        manager.metrics.has_wire(transport)
        self._networks = TrustedProxies(settings.telephony_networks)

    def allows(self, client: str) -> bool:
        """Whether a client of this address may call."""
        return not self._settings.telephony_networks or self._networks.trusts(client)

    async def serve(self, wire: Wire, link: Link, client: str, token: str | None = None) -> None:
        """A connection's whole life. client: their address. token: that the request shows, if it does."""
        budget = self._manager.loop_budget.call()
        connection = WireConnection(wire, link, self._settings, budget)
        known, failed = None, False
        try:
            async with asyncio.TaskGroup() as tasks, self._manager.session(self._transport) as record:
                flooded = tasks.create_task(link.until_flooded())
                await self._converse(record, wire, connection, client, token)
                flooded.cancel()
        except Exception as error:
            known = session_error(error)
            failed = known is None
            if known is None:
                _log.exception("a connection failed transport=%s", self._transport)
            else:
                _log.info("a connection ended transport=%s: %s", self._transport, known)
        finally:
            self._manager.metrics.wire_over(self._transport, connection.packets)
        if known is None and not failed:
            await connection.until_played()
        if asked := wire.ask_to_close(known):
            await connection.until_agreed(asked)
        await link.close(known, failed, wire.end(known))

    async def _converse(
        self, record: CallRecord, wire: Wire, connection: WireConnection, client: str, token: str | None
    ) -> None:
        called_s = time.monotonic()
        opening = await connection.opening()
        token = token or opening.options.token
        await self._authenticate(record, wire, token, client)
        conversation = await self._conversation(opening.options, token)
        spec = self._spec(opening, conversation)

        async def read(call: Call) -> None:
            await connection.listen(call, opening)

        with self._manager.conversations.resumable(conversation):
            async with self._manager.reserve(client, spec, conversation.history) as reservation:
                await self._manager.converse(
                    record, reservation, read, connection.send, called_s, conversation, connection
                )

    async def _authenticate(self, record: CallRecord, wire: Wire, token: str | None, client: str) -> None:
        """Raises Unauthenticated, OverQuota. A signed request needs no token, nor one of a listed network that could
        show none.
        """
        if wire.is_authenticated or (not wire.carries_token and self._settings.telephony_networks):
            return
        await self._manager.authenticate(record, token, client)

    async def _conversation(self, options: CallOptions, token: str | None) -> Conversation:
        """The conversation that the caller comes back for, if it is one who does and it can go on; else a new one."""
        conversation = None
        if options.resume is not None:
            with contextlib.suppress(CannotResume):
                conversation = (await self._manager.conversations.take(options.resume, token)).going_on()
        if conversation is None:
            seed = draw_seed() if options.seed is None else options.seed
            sampling = common_pb2.Sampling(seed=seed)
            conversation = Conversation(sampling, seed, seed, History(), token, options.persona)
        if options.key is not None:
            conversation.key = options.key
        return conversation

    def _spec(self, opening: Opening, conversation: Conversation) -> CallSpec:
        return CallSpec(
            input_format=opening.input_format,
            output_format=opening.output_format,
            reply_packet_ms=opening.packet_ms,
            jitter_allowance_s=self._settings.jitter_allowance_ms / 1000,
            sampling=conversation.sampling,
            on_its_way_ms=self._settings.reply_backlog_ms // 2,
            paced=opening.paced,
            loopback=opening.options.loopback,
            persona=conversation.persona,
            label=opening.options.label or self._transport,
        )
