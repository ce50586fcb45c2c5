"""A gRPC stream of its own as a session's stream: what tools and load generators open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic

import grpc

from moshi_cluster.services.common.rpc import statuses
from moshi_cluster.services.common.session_stream import Request, Response, SessionStream

SLOT_HELD = (("moshi-slot", "held"),)
"""A worker's initial metadata once it holds a slot for the stream, so that a client knows before it sends a frame."""


async def serve_rpc(
    handler: Callable[[SessionStream[Request, Response]], Awaitable[None]],
    requests: AsyncIterator[Request],
    context: grpc.aio.ServicerContext,
) -> None:
    """Runs a handler on the rpc that gRPC has called a servicer with."""
    async with statuses(context):
        await handler(RpcStream(requests, context))


class RpcStream(Generic[Request, Response]):
    """Implements SessionStream."""

    def __init__(self, requests: AsyncIterator[Request], context: grpc.aio.ServicerContext) -> None:
        self.requests = requests
        self._context = context

    async def held(self) -> None:
        """Sends the initial metadata, which would otherwise leave with the first response."""
        await self._context.send_initial_metadata(SLOT_HELD)

    def write(self, response: Response) -> Awaitable[None]:
        """Sends a response."""
        written: Awaitable[None] = self._context.write(response)
        return written
