"""The gateway's end of the stream multiplexer: many sessions' streams on one connection to a worker."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Generic

import grpc
from google.protobuf.message import Message

from moshi_cluster.services.common.mux.buffers import CODES, End, Inbox, Outbox
from moshi_cluster.services.common.session_stream import Response
from moshi_cluster.v1 import trunk_pb2, trunk_pb2_grpc

_LOST = grpc.StatusCode.UNAVAILABLE


class StreamEnded(Exception):
    """A stream is over: refused, failed, cancelled, or its worker is lost."""

    def __init__(self, end: End) -> None:
        super().__init__(end.text or end.code.name)
        self.code = end.code


class MuxClient:
    """Streams to one worker. The connection is made with the first stream, and anew after it was lost."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._connection: MuxConnection | None = None

    def open(self, method: str, response_type: type[Response]) -> MuxStream[Response]:
        """A stream of the rpc `method`, its full name."""
        if self._connection is None or self._connection.is_lost:
            self._connection = MuxConnection(self._channel)
        return self._connection.open(method, response_type)

    async def close(self) -> None:
        """Ends the connection and every stream on it."""
        if self._connection is not None:
            await self._connection.close()


class MuxStream(Generic[Response]):
    """One session's stream as the gateway holds it."""

    def __init__(
        self, number: int, response_type: type[Response], outbox: Outbox, forget: Callable[[], object]
    ) -> None:
        """forget: called once, when the stream has ended."""
        self._number = number
        self._response_type = response_type
        self._outbox = outbox
        self._forget = forget
        self._inbox = Inbox()
        self._is_held = False
        self._held_or_over = asyncio.Event()

    async def write(self, message: Message) -> None:
        """Sends one message. Raises StreamEnded."""
        await self._outbox.until_writable()
        if self._inbox.end is not None:
            raise StreamEnded(self._inbox.end)
        self._outbox.put(trunk_pb2.TrunkItem(stream=self._number, message=message.SerializeToString()))

    async def read(self) -> Response | None:
        """The next message, None once the stream has ended well. Raises StreamEnded when it ended otherwise."""
        item = await self._inbox.get()
        if not isinstance(item, End):
            return self._response_type.FromString(item)
        if item.code is not grpc.StatusCode.OK:
            raise StreamEnded(item)
        return None

    async def until_held(self) -> None:
        """Returns once the worker holds a slot. Raises StreamEnded when it refuses."""
        await self._held_or_over.wait()
        if not self._is_held:
            assert self._inbox.end is not None
            raise StreamEnded(self._inbox.end)

    def done_writing(self) -> None:
        """Half-closes: the worker answers what is in flight and ends the stream."""
        if self._inbox.end is None:
            self._outbox.put(trunk_pb2.TrunkItem(stream=self._number, done_writing=True))

    def cancel(self) -> None:
        """Gives the slot back at once."""
        if self._inbox.end is None:
            self._outbox.put(trunk_pb2.TrunkItem(stream=self._number, cancel=True))
            self.end(End(grpc.StatusCode.CANCELLED))

    def take(self, item: trunk_pb2.TrunkItem) -> None:
        """Takes what came for this stream."""
        kind = item.WhichOneof("item")
        if kind == "message":
            if not self._inbox.put(item.message):
                self.cancel()
        elif kind == "held":
            self._is_held = True
            self._held_or_over.set()
        elif kind == "status":
            self.end(End(CODES.get(item.status.code, grpc.StatusCode.UNKNOWN), item.status.text))

    def end(self, end: End) -> None:
        """Nothing more will come."""
        self._inbox.close(end)
        self._held_or_over.set()
        self._forget()


class MuxConnection:
    """One connection to a worker and the streams on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.is_lost = False
        self._outbox = Outbox()
        self._streams: dict[int, MuxStream[Any]] = {}
        self._numbers = itertools.count(1)
        self._running = asyncio.create_task(self._run(channel))

    def open(self, method: str, response_type: type[Response]) -> MuxStream[Response]:
        number = next(self._numbers)
        stream = MuxStream(number, response_type, self._outbox, lambda: self._streams.pop(number, None))
        self._streams[number] = stream
        self._outbox.put(trunk_pb2.TrunkItem(stream=number, open=method))
        return stream

    async def close(self) -> None:
        self._running.cancel()
        await asyncio.wait((self._running,))

    async def _run(self, channel: grpc.aio.Channel) -> None:
        call: Any = trunk_pb2_grpc.TrunkStub(channel).Carry()
        parts = [asyncio.ensure_future(self._read(call)), asyncio.ensure_future(self._outbox.send(call.write))]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.is_lost = True
            call.cancel()
            for part in parts:
                part.cancel()
            results = await asyncio.gather(*parts, return_exceptions=True)
            why = next((error.details() for error in results if isinstance(error, grpc.aio.AioRpcError)), None)
            for stream in list(self._streams.values()):
                stream.end(End(_LOST, f"the worker is lost: {why or 'the trunk has ended'}"))

    async def _read(self, call: Any) -> None:
        while (bundle := await call.read()) is not grpc.aio.EOF:
            for item in bundle.items:
                if item.stream in self._streams:  # else it was cancelled, and the worker did not know it yet
                    self._streams[item.stream].take(item)
