"""Listener of the HTTP port: lets connections in while there is room, encrypts them, hands them over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import cast

from moshi_cluster.services.gateway.api.http.connection_limits import ConnectionLimits

_BACKLOG = 128
_EARLY_BYTES = 64 * 1024  # of a client whose first request comes with the end of its handshake

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
            transport.pause_reading()  # until the handshake begins
            handshake = asyncio.create_task(self._encrypt(arrival, transport, leave, self._tls))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _encrypt(
        self, arrival: _Arrival, transport: asyncio.Transport, leave: Leave, tls: ssl.SSLContext
    ) -> None:
        with contextlib.ExitStack() as failed:
            failed.callback(leave)
            failed.callback(transport.abort)
            try:
                encrypted = await asyncio.get_running_loop().start_tls(
                    transport, arrival, tls, server_side=True, ssl_handshake_timeout=self._handshake_timeout_s
                )
            except (OSError, TimeoutError) as error:  # of scanners and browsers that do not trust the certificate
                _log.debug("no TLS: %s", type(error).__name__)
                return
            if encrypted is not None and not arrival.is_lost:
                failed.pop_all()
                arrival.hand_over(encrypted, self._make_protocol(leave))


class _Arrival(asyncio.Protocol):
    """A connection until it is handed over."""

    def __init__(self, arrived: Callable[[_Arrival, asyncio.Transport], None]) -> None:
        self._arrived = arrived
        self._early = bytearray()
        self._transport: asyncio.Transport | None = None
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._arrived(self, self._transport)

    def data_received(self, data: bytes) -> None:
        self._early += data
        if len(self._early) > _EARLY_BYTES and self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True

    def hand_over(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        """Lets this protocol go on with the connection."""
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._early:
            protocol.data_received(bytes(self._early))
