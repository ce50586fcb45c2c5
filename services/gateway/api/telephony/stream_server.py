"""Server of wires over TCP, each on a port of its own."""

from __future__ import annotations

import asyncio
import logging

from moshi_cluster.services.common.errors import OverQuota
from moshi_cluster.services.common.listening import open_listeners
from moshi_cluster.services.gateway.api.telephony.links import StreamLink
from moshi_cluster.services.gateway.api.telephony.wire import Request
from moshi_cluster.services.gateway.api.telephony.wire_calls import WireCalls
from moshi_cluster.services.gateway.api.telephony.wires import OVER_STREAM
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.settings import PREFIX, GatewaySettings

_BUFFER_BYTES = 16 * 1024
_WRITE_BUFFER_BYTES = 2 * 1024
_STOP_GRACE_S = 2.0

_log = logging.getLogger(__name__)


class StreamServer:
    """Listens for one wire from `start` to `stop`."""

    def __init__(self, name: str, settings: GatewaySettings, manager: CallManager) -> None:
        """Raises SettingError for a wire that lacks something."""
        stream = OVER_STREAM[name]
        self._name = name
        self._host_setting, self._port_setting = stream.host, stream.port
        self._open = stream.kind(settings)
        self._settings = settings
        self._manager = manager
        self._calls = WireCalls(name, settings, manager)
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises SettingError for a port that cannot be had."""
        host, port = (getattr(self._settings, name) for name in (self._host_setting, self._port_setting))
        for each in open_listeners(host, port, PREFIX, self._port_setting):
            self._servers.append(await asyncio.start_server(self._arrived, sock=each, limit=_BUFFER_BYTES))
        _log.info("listening %s=%d", self._port_setting, self.port)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._servers, "not started"
        return int(self._servers[0].sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Waits a little for connections that are closing, and ends the rest."""
        for server in self._servers:
            server.close()
        if self._connections:
            await asyncio.wait(self._connections, timeout=_STOP_GRACE_S)
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None, "no task"
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        client = str((writer.get_extra_info("peername") or ("unknown",))[0])
        try:
            await self._serve(reader, writer, client)
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str) -> None:
        if len(self._connections) > self._settings.max_http_connections or not self._calls.allows(client):
            self._manager.metrics.http_refused("telephony")
            return
        try:
            await self._manager.openings.enter(client)
        except OverQuota:
            self._manager.metrics.http_refused("openings")
            return
        writer.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        await self._calls.serve(self._open(Request(client)), StreamLink(reader, writer), client)
