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

from moshi_cluster.services.gateway.admission.trusted_proxies import TrustedProxies
from moshi_cluster.services.gateway.api.http.connection_limits import ConnectionLimits
from moshi_cluster.services.gateway.api.http.proxy_protocol import read_header

_BACKLOG = 128

_log = logging.getLogger(__name__)

Leave = Callable[[], None]
MakeProtocol = Callable[[str, Leave], asyncio.Protocol]
"""Makes what speaks on a connection, for a client's address; it calls `Leave` once the connection is lost."""


class Listener:
    """Accepts from `start` to `stop`."""

    def __init__(
        self,
        make_protocol: MakeProtocol,
        limits: ConnectionLimits,
        handshake_timeout_s: float,
        tls: Callable[[], ssl.SSLContext] | None = None,
        announcing: TrustedProxies | None = None,
    ) -> None:
        """tls: the context of now. announcing: proxies whose connections begin with the PROXY protocol."""
        self._make_protocol = make_protocol
        self._limits = limits
        self._handshake_timeout_s = handshake_timeout_s
        self._tls = tls
        self._announcing = announcing or TrustedProxies()
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
        address = str((transport.get_extra_info("peername") or ("unknown",))[0])
        leave = self._limits.enter(address, transport.get_extra_info("socket").fileno())
        if leave is None:
            transport.abort()
        elif self._tls is None and not self._announcing.trusts(address):
            arrival.hand_over(transport, self._make_protocol(address, leave))
        else:
            # uvloop reads as soon as connection_made returns, whoever pauses it: what comes before HTTP is read from a
            # socket of its own, from which nothing has been read.
            connection = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
            connection.setblocking(False)
            transport.abort()
            handshake = asyncio.create_task(self._shake_hands(connection, address, leave))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, connection: socket.socket, address: str, leave: Leave) -> None:
        """Reads a proxy's header, then encrypts."""
        with contextlib.ExitStack() as failed:
            failed.callback(connection.close)
            if self._announcing.trusts(address):
                announced = await self._announced(connection, address, leave)
                if announced is None:
                    return
                address, leave = announced
            failed.callback(leave)
            if await self._encrypt(connection, address, leave):
                failed.pop_all()

    async def _announced(self, connection: socket.socket, proxy: str, leave: Leave) -> tuple[str, Leave] | None:
        """The client that a proxy announces, let in in its place; None if there is none, or no room for them."""
        try:
            async with asyncio.timeout(self._handshake_timeout_s):
                client = await read_header(connection) or proxy
        except (ValueError, EOFError, OSError, TimeoutError) as error:
            self._limits.refuse("proxy")
            _log.warning("a connection of a trusted proxy begins with no PROXY header: %s", type(error).__name__)
            return None
        finally:
            leave()
        entered = self._limits.enter(client, connection.fileno())
        return None if entered is None else (client, entered)

    async def _encrypt(self, connection: socket.socket, address: str, leave: Leave) -> bool:
        """Hands it over, encrypted where that is asked for; whether that went well."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._make_protocol(address, leave),
                connection,
                ssl=self._tls() if self._tls else None,
                ssl_handshake_timeout=self._handshake_timeout_s if self._tls else None,
            )
        except (OSError, TimeoutError) as error:  # of scanners and browsers that do not trust the certificate
            _log.debug("no TLS: %s", type(error).__name__)
            return False
        return True


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
