"""A gRPC stream of its own as a session's stream: what tools and load generators open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic

import grpc

from moshi_cluster.services.common.rpc import statuses
from moshi_cluster.services.common.session_stream import Request, Response, SessionStream

SLOT_HELD = (("moshi-slot", "held"),)
"""The codec's initial metadata once it holds a slot for a stream, so that a client knows before it sends a frame."""


async def serve_rpc(
    handler: Callable[[SessionStream[Request, Response]], Awaitable[None]],
    requests: AsyncIterator[Request],
    context: grpc.aio.ServicerContext,
    slot_is_a_response: bool = False,
) -> None:
    """Runs a handler on the rpc that gRPC has called a servicer with.

    slot_is_a_response: that a slot is held is told by the first response, which waits for a message of the client. The
    initial metadata comes at once all the same: a client may wait for it before it sends anything.
    """
    async with statuses(context):
        if slot_is_a_response:
            await context.send_initial_metadata(())
        await handler(RpcStream(requests, context, tells_slot=not slot_is_a_response))


class RpcStream(Generic[Request, Response]):
    """Implements SessionStream."""

    def __init__(
        self, requests: AsyncIterator[Request], context: grpc.aio.ServicerContext, tells_slot: bool = True
    ) -> None:
        """tells_slot: by initial metadata, which has not been sent yet."""
        self.requests = requests
        self._context = context
        self._tells_slot = tells_slot

    async def held(self) -> None:
        """Sends the initial metadata, which would otherwise leave with the first response."""
        if self._tells_slot:
            await self._context.send_initial_metadata(SLOT_HELD)

    def write(self, response: Response) -> Awaitable[None]:
        """Sends a response."""
        written: Awaitable[None] = self._context.write(response)
        return written
