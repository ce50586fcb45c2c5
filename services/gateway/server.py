"""Gateway as a process: the public gRPC service and the HTTP port, both in front of one call manager."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import grpc

from moshi_cluster.services.common.readiness import Readiness
from moshi_cluster.services.gateway.api.grpc.call_control import CallControlServicer
from moshi_cluster.services.gateway.api.grpc.servicer import ConverseServicer
from moshi_cluster.services.gateway.api.http.server import HttpServer
from moshi_cluster.services.gateway.api.telephony.stream_server import StreamServer
from moshi_cluster.services.gateway.api.telephony.wires import OVER_STREAM, check_names
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import call_control_pb2_grpc, gateway_pb2_grpc


class GatewayService:
    """The life of a gateway. Implements services.common.lifecycle.Service."""

    def __init__(self, settings: GatewaySettings, manager: CallManager) -> None:
        self.readiness = Readiness()
        self._manager = manager
        self._converse = ConverseServicer(settings, manager)
        check_names(settings)
        self._control = CallControlServicer(settings, manager) if settings.control_token_file else None
        self._http = HttpServer(settings, manager) if settings.http else None
        self._streams = {
            name: StreamServer(name, settings, manager) for name in settings.telephony if name in OVER_STREAM
        }

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        """Adds the servicers; returns the full names of the services."""
        gateway_pb2_grpc.add_GatewayServicer_to_server(self._converse, server)
        if self._control is None:
            return ["moshi_cluster.v1.Gateway"]
        call_control_pb2_grpc.add_CallControlServicer_to_server(self._control, server)
        return ["moshi_cluster.v1.Gateway", "moshi_cluster.v1.CallControl"]

    @property
    def failed(self) -> asyncio.Future[BaseException]:
        """Resolves when no worker could ever be found again."""
        return self._manager.failed

    async def start(self) -> None:
        """Returns once a worker of each service takes sessions; the web page is there at once."""
        if self._http is not None:
            await self._http.start()
        for stream in self._streams.values():
            await stream.start()
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
        for stream in self._streams.values():
            await stream.stop()
        await self._manager.stop()

    @property
    def http_port(self) -> int:
        """Where the web page is, once started. Raises RuntimeError when it is switched off."""
        if self._http is None:
            raise RuntimeError("HTTP is off")
        return self._http.port

    @property
    def stream_ports(self) -> Mapping[str, int]:
        """Where wires over TCP are, by name, once started."""
        return {name: stream.port for name, stream in self._streams.items()}
