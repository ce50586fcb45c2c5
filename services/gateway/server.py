"""The gateway as a process: the public gRPC service and the HTTP port, both in front of the switchboard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from moshi_cluster.services.common.worker.streams import statuses, within
from moshi_cluster.services.gateway.admission.auth import bearer
from moshi_cluster.services.gateway.api.grpc.metadata_options import parse_call
from moshi_cluster.services.gateway.api.grpc.requests import Requests, read_caller, read_start
from moshi_cluster.services.gateway.api.grpc.responses import render
from moshi_cluster.services.gateway.api.http.server import HttpServer
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.calls.outgoing import Outgoing
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import gateway_pb2_grpc


class GatewayService(gateway_pb2_grpc.GatewayServicer):
    """Converse: one stream is one call. Implements services.common.lifecycle.Service."""

    def __init__(self, settings: GatewaySettings, metrics: GatewayMetrics) -> None:
        self._settings = settings
        self._manager = CallManager(settings, metrics)
        self._http = HttpServer(settings, self._manager) if settings.http else None

    # --- the life of the process

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        gateway_pb2_grpc.add_GatewayServicer_to_server(self, server)
        return ["moshi_cluster.v1.Gateway"]

    @property
    def failed(self) -> asyncio.Future[BaseException]:
        """Resolves when no worker could ever be found again."""
        return self._manager.failed

    async def start(self) -> None:
        """Returns once a worker of each service takes sessions; the web page is there at once."""
        if self._http is not None:
            await self._http.start()
        await self._manager.start()

    @property
    def live_sessions(self) -> int:
        """Calls that are not over yet."""
        return self._manager.live_sessions

    def drain(self, grace_s: float) -> None:
        """Refuses new calls and tells the live ones."""
        self._manager.drain(grace_s)

    async def until_idle(self) -> None:
        """Returns once no call is left."""
        await self._manager.until_idle()

    async def stop(self) -> None:
        """Lets go of the HTTP port and the workers."""
        if self._http is not None:
            await self._http.stop()
        await self._manager.stop()

    @property
    def http_port(self) -> int:
        """Where the web page is, once started. Raises RuntimeError when it is switched off."""
        if self._http is None:
            raise RuntimeError("HTTP is off")
        return self._http.port

    # --- a call

    async def Converse(self, request_iterator: Requests, context: grpc.aio.ServicerContext) -> None:
        settings = self._settings
        async with statuses(context), self._manager.session() as session_id:
            # Read before refusing: a refusal that crosses the caller's first message can reach him as INTERNAL.
            start = await within(read_start(request_iterator), settings.open_timeout_s, "no `start` came")
            metadata = context.invocation_metadata() or ()
            self._manager.authenticate(bearer(dict(metadata).get("authorization")))
            spec = parse_call(start, metadata, settings)

            async def read(call: Call) -> None:
                await read_caller(request_iterator, start, call, settings.max_messages_per_s)

            async def send(item: Outgoing) -> None:
                await context.write(render(item))

            async with self._manager.reserve(context.peer(), spec) as reservation:
                await self._manager.converse(session_id, reservation, read, send)
