"""Listener of the HTTP port: lets connections in while there is room, encrypts them, hands them over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import cast

from moshi_cluster.services.gateway.api.http.connection_limits import ConnectionLimits

_BACKLOG = 128

_log = logging.getLogger(__name__)

Leave = Callable[[], None]
MakeProtocol = Callable[[Leave], asyncio.Protocol]
"""Makes what speaks on a connection; it calls `Leave` once the connection is lost."""


class Listener:
    """Accepts from `start` to `stop`."""

    def __init__(
        self,
        make_protocol: MakeProtocol,
        limits: ConnectionLimits,
        handshake_timeout_s: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._make_protocol = make_protocol
        self._limits = limits
        self._handshake_timeout_s = handshake_timeout_s
        self._tls = tls
        self._servers: list[asyncio.Server] = []
        self._handshakes: set[asyncio.Task[None]] = set()

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """sockets: bound, one for each address; closed at the end."""
        loop = asyncio.get_running_loop()
        for each in sockets:
            self._servers.append(await loop.create_server(lambda: _Arrival(self._arrived), sock=each, backlog=_BACKLOG))

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._servers, "not started"
        return int(self._servers[0].sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Accepts nobody any more. Connections that were handed over go on."""
        for server in self._servers:
            server.close()
        for handshake in self._handshakes:
            handshake.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def _arrived(self, arrival: _Arrival, transport: asyncio.Transport) -> None:
        leave = self._limits.enter(transport)
        if leave is None:
            transport.abort()
        elif self._tls is None:
            arrival.hand_over(transport, self._make_protocol(leave))
        else:
            # uvloop reads as soon as connection_made returns, whoever pauses it: TLS begins on a socket of its own,
            # from which nothing has been read.
            connection = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
            transport.abort()
            handshake = asyncio.create_task(self._encrypt(connection, leave, self._tls))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _encrypt(self, connection: socket.socket, leave: Leave, tls: ssl.SSLContext) -> None:
        with contextlib.ExitStack() as failed:
            failed.callback(leave)
            failed.callback(connection.close)
            try:
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: self._make_protocol(leave),
                    connection,
                    ssl=tls,
                    ssl_handshake_timeout=self._handshake_timeout_s,
                )
            except (OSError, TimeoutError) as error:  # of scanners and browsers that do not trust the certificate
                _log.debug("no TLS: %s", type(error).__name__)
                return
            failed.pop_all()


class _Arrival(asyncio.Protocol):
    """A connection until it is handed over."""

    def __init__(self, arrived: Callable[[_Arrival, asyncio.Transport], None]) -> None:
        self._arrived = arrived

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._arrived(self, cast(asyncio.Transport, transport))

    def hand_over(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        """Lets this protocol go on with the connection."""
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
