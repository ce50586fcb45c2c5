"""Stream of the rpc Converse: a call, or as much of one as one connection carries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import grpc

from moshi_cluster.clients.telephony.access import Access
from moshi_cluster.clients.telephony.errors import CallLost
from moshi_cluster.v1 import gateway_pb2

CONNECT_TIMEOUT_S = 10.0
REPLY_TIMEOUT_S = 30.0
"""How long the gateway may be silent, or take nothing, before the call is given up."""
_CONVERSE = "/moshi_cluster.v1.Gateway/Converse"
# What writing raises once the call is over; reading says why it is.
_CALL_IS_OVER = (grpc.aio.AioRpcError, asyncio.InvalidStateError)


class ConverseStream:
    """Messages of one stream, written as bytes: what is said again and again is serialised once."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        metadata: Sequence[tuple[str, str]] = (),
        patience_s: float | None = None,
    ) -> None:
        """patience_s: longest wait for one message in or out; None: whoever uses it has a deadline of their own."""
        converse = channel.stream_stream(
            _CONVERSE, request_serializer=None, response_deserializer=gateway_pb2.ConverseResponse.FromString
        )
        self._stream: Any = converse(metadata=metadata)
        self._patience_s = patience_s
        self._writing = asyncio.Lock()  # gRPC takes one message at a time
        self._half_closed = False
        self._takes_nothing = False

    async def write(self, message: bytes) -> bool:
        """Sends a serialised ConverseRequest; False once no more can be sent: reading says why."""
        async with self._writing:
            if self._half_closed:
                return False
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._stream.write(message)
            except _CALL_IS_OVER:
                return False
            except TimeoutError:
                self._takes_nothing = True
                self.cancel()
                return False
            return True

    async def half_close(self) -> None:
        """Says that nothing more comes; what is in flight is still answered."""
        async with self._writing:
            self._half_closed = True
            try:
                await self._stream.done_writing()
            except _CALL_IS_OVER:
                return

    async def messages(self) -> AsyncGenerator[gateway_pb2.ConverseResponse, None]:
        """Everything that comes. Raises grpc.aio.AioRpcError, TimeoutError for a gateway that is silent."""
        while (message := await self._read()) is not grpc.aio.EOF:
            yield message

    def cancel(self) -> None:
        """Hangs up at once."""
        self._stream.cancel()

    async def _read(self) -> Any:
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._stream.read()
        except grpc.aio.AioRpcError as error:
            if self._takes_nothing:
                raise TimeoutError from error
            raise


async def connect(channel: grpc.aio.Channel, target: str, access: Access) -> None:
    """Waits until the gateway at host:port answers. Raises CallLost."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await channel.channel_ready()
    except TimeoutError as error:
        way = "over TLS" if access.tls else "without TLS"
        raise CallLost(f"no gateway answers at {target} {way} within {CONNECT_TIMEOUT_S:g} s") from error
