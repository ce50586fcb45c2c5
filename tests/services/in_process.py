"""A real gRPC server of one service in the test's own process, and a channel to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from moshi_cluster.cluster.ports import LOOPBACK, free_ports
from moshi_cluster.services.common.lifecycle import Service
from moshi_cluster.services.common.rpc import channel_options, server_options

_MAX_MESSAGE_BYTES = 1 << 20
PATIENCE_S = 60.0  # far beyond any test: only a hang reaches it


@dataclass
class Listening:
    """A server that listens and a channel to it."""

    server: grpc.aio.Server
    channel: grpc.aio.Channel
    target: str


def lasting_address() -> str:
    """To listen on and, once it was given up, again: no outgoing connection gets the port in between."""
    return f"{LOOPBACK}:{free_ports(1)[0]}"


@asynccontextmanager
async def listening(
    service: Service, credentials: grpc.ServerCredentials | None = None, address: str = "127.0.0.1:0"
) -> AsyncIterator[Listening]:
    """Serves without starting the service: it is still loading. With credentials, the channel is of no use."""
    server = grpc.aio.server(options=server_options(_MAX_MESSAGE_BYTES, max_streams=256))
    service.register(server)
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    target = f"{address.rpartition(':')[0]}:{port}"
    await server.start()
    try:
        async with grpc.aio.insecure_channel(target, channel_options(_MAX_MESSAGE_BYTES)) as channel:
            yield Listening(server, channel, target)
    finally:
        await server.stop(None)
        await service.stop()


@asynccontextmanager
async def serving(
    service: Service, credentials: grpc.ServerCredentials | None = None, address: str = "127.0.0.1:0"
) -> AsyncIterator[Listening]:
    """Serves a service that has loaded."""
    async with listening(service, credentials, address) as listener:
        await service.start()
        yield listener


async def eventually(condition: Callable[[], bool]) -> None:
    """Returns once the condition holds; for what another thread or the peer does in its own time."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.001)


async def few_turns() -> None:
    """Lets the event loop run everything that is ready, several times over."""
    for _ in range(10):
        await asyncio.sleep(0)


async def read_all(call: Any) -> list[Any]:
    """Every message until the stream ends OK; raises AioRpcError otherwise."""
    async with asyncio.timeout(PATIENCE_S):
        messages = []
        while (message := await call.read()) is not grpc.aio.EOF:
            messages.append(message)
        return messages


async def status_of(call: Any) -> tuple[grpc.StatusCode, str]:
    """Reads what is left of a stream; its status and message."""
    try:
        await read_all(call)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


async def read(call: Any) -> Any:
    """The next message; never the end of the stream."""
    async with asyncio.timeout(PATIENCE_S):
        message = await call.read()
    assert message is not grpc.aio.EOF, await call.code()
    return message
