"""Listener of the HTTP port on the event loop that services run on."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import cast

import uvloop
from prometheus_client import CollectorRegistry

from moshi_cluster.services.gateway.api.http.connection_limits import ConnectionLimits
from moshi_cluster.services.gateway.api.http.listener import Leave, Listener
from moshi_cluster.services.gateway.api.tls import contexts_of
from moshi_cluster.services.gateway.metrics import GatewayMetrics

CLIENTS = 20
TIMEOUT_S = 30.0


class Greeting(asyncio.Protocol):
    """Says hello to whoever says something, and hangs up."""

    def __init__(self, address: str, leave: Leave) -> None:
        self._leave = leave

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"hello")
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()


def greet(port: int) -> bytes:
    """One client, whose handshake is there before the server looks."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        encrypted.sendall(b"anybody there?")
        return encrypted.recv(16)


def test_every_client_can_encrypt(tmp_path: Path) -> None:
    async def greetings() -> list[bytes]:
        limits = ConnectionLimits(CLIENTS, CLIENTS, GatewayMetrics(CollectorRegistry()))
        listener = Listener(Greeting, limits, TIMEOUT_S, contexts_of(tmp_path, self_signed=True))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            await listener.start([listening])
            try:
                return await asyncio.gather(*(asyncio.to_thread(greet, listener.port) for _ in range(CLIENTS)))
            finally:
                await listener.stop()

    assert uvloop.run(greetings()) == [b"hello"] * CLIENTS
