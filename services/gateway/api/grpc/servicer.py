"""Servicer of the public gRPC contract: one Converse stream is one call."""

from __future__ import annotations

import grpc

from moshi_cluster.services.common.deadlines import within
from moshi_cluster.services.common.rpc import statuses
from moshi_cluster.services.gateway.admission.auth import bearer
from moshi_cluster.services.gateway.api.grpc.metadata_options import parse_call
from moshi_cluster.services.gateway.api.grpc.requests import Requests, read_caller, read_start
from moshi_cluster.services.gateway.api.grpc.responses import render
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.events import Outgoing
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import gateway_pb2_grpc


class ConverseServicer(gateway_pb2_grpc.GatewayServicer):
    """Feeds callers' messages to calls of the manager, and writes what leaves them."""

    def __init__(self, settings: GatewaySettings, manager: CallManager) -> None:
        self._settings = settings
        self._manager = manager

    async def Converse(self, request_iterator: Requests, context: grpc.aio.ServicerContext) -> None:
        """A call from its `start` to its status, by the table of services.common.errors."""
        settings = self._settings
        async with statuses(context), self._manager.session() as session_id:
            # Read before refusing: a refusal that crosses the caller's first message can reach them as INTERNAL.
            start = await within(read_start(request_iterator), settings.open_timeout_s, "no `start` came")
            metadata = context.invocation_metadata() or ()
            await self._manager.authenticate(bearer(dict(metadata).get("authorization")), context.peer())
            spec = parse_call(start, metadata, settings)

            async def read(call: Call) -> None:
                await read_caller(request_iterator, start, call, settings.max_messages_per_s)

            async def send(item: Outgoing) -> None:
                await context.write(render(item))

            async with self._manager.reserve(context.peer(), spec) as reservation:
                await self._manager.converse(session_id, reservation, read, send)
