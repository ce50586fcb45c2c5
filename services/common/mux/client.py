"""The gateway's end of the stream multiplexer: many sessions' streams on one connection to a worker."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic

import grpc
from google.protobuf.message import Message

from moshi_cluster.services.common.mux.buffers import CODES, End, Inbox, Outbox
from moshi_cluster.services.common.session_id import SESSION_ID
from moshi_cluster.services.common.session_stream import Response
from moshi_cluster.v1 import trunk_pb2, trunk_pb2_grpc

_log = logging.getLogger(__name__)


class StreamEnded(Exception):
    """A stream is over: refused, failed, cancelled, or its worker is lost."""

    def __init__(self, end: End) -> None:
        super().__init__(end.text or end.code.name)
        self.code = end.code
        self.figures = end.figures


class MuxClient:
    """Streams to one worker. The connection is made with the first stream, and anew after it was lost."""

    def __init__(
        self, channel: grpc.aio.Channel, service: str, address: str, make_outbox: Callable[[], Outbox] = Outbox
    ) -> None:
        """service and address: of the worker, for callers and for the log.

        make_outbox: of a connection; says when a worker that takes nothing is lost.
        """
        self._channel = channel
        self._service = service
        self._address = address
        self._make_outbox = make_outbox
        self._connection: MuxConnection | None = None
        self._running: set[asyncio.Task[None]] = set()  # of the connection and of lost ones that still end

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._connection.streams if self._connection is not None else 0

    @property
    def bundles_heard(self) -> int:
        """How many messages have come over the connection that stands: one that works goes on counting."""
        return self._connection.bundles_heard if self._connection is not None else 0

    def open(self, method: str, response_type: type[Response]) -> MuxStream[Response]:
        """A stream of the rpc `method`, its full name."""
        if self._connection is None or self._connection.is_lost:
            self._connection = MuxConnection(self._channel, self._service, self._address, self._make_outbox())
            self._running.add(self._connection.running)
            self._connection.running.add_done_callback(self._running.discard)
        return self._connection.open(method, response_type)

    def lose(self, why: str) -> None:
        """Ends every stream at once: the worker is as good as gone, although its connection may stand."""
        if self._connection is not None:
            self._connection.lose(why)

    async def use(self, channel: grpc.aio.Channel) -> None:
        """Goes on over another channel; ends what is left on the one of before."""
        await self.close()
        self._channel = channel

    async def close(self) -> None:
        """Ends the connection and every stream on it."""
        self.lose("the gateway lets go of it")
        await asyncio.gather(*self._running, return_exceptions=True)


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
        """Sends one message once the worker has taken enough of what was sent before. Raises StreamEnded."""
        await self._outbox.until_writable()
        self.put(message)

    async def until_writable(self) -> None:
        """Returns once the worker has taken enough that another message may be put, or the stream is over."""
        await self._outbox.until_writable()

    def put(self, message: Message) -> None:
        """Sends one message without waiting. Raises StreamEnded."""
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
            figures = dict(item.status.figures)
            self.end(End(CODES.get(item.status.code, grpc.StatusCode.UNKNOWN), item.status.text, figures=figures))

    def end(self, end: End) -> None:
        """Nothing more will come."""
        self._inbox.close(end)
        self._held_or_over.set()
        self._forget()


class MuxConnection:
    """One connection to a worker and the streams on it."""

    def __init__(self, channel: grpc.aio.Channel, service: str, address: str, outbox: Outbox) -> None:
        self.is_lost = False
        self.bundles_heard = 0
        self._service = service
        self._address = address
        self._outbox = outbox
        self._streams: dict[int, MuxStream[Any]] = {}
        self._numbers = itertools.count(1)
        self.running = asyncio.create_task(self._run(channel))

    @property
    def streams(self) -> int:
        return len(self._streams)

    def open(self, method: str, response_type: type[Response]) -> MuxStream[Response]:
        number = next(self._numbers)
        stream = MuxStream(number, response_type, self._outbox, lambda: self._streams.pop(number, None))
        self._streams[number] = stream
        self._outbox.put(trunk_pb2.TrunkItem(stream=number, open=method, session_id=SESSION_ID.get()))
        return stream

    def lose(self, why: str) -> None:
        self._end_streams(why)
        self.running.cancel()

    async def _run(self, channel: grpc.aio.Channel) -> None:
        call: Any = trunk_pb2_grpc.TrunkStub(channel).Carry()
        work = (self._read(call), self._outbox.send(call.write), self._outbox.until_stalled())
        parts = [asyncio.ensure_future(part) for part in work]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            call.cancel()
            for part in parts:
                part.cancel()
            results = await asyncio.gather(*parts, return_exceptions=True)
            self._end_streams(_why_over(results))

    async def _read(self, call: Any) -> None:
        while (bundle := await call.read()) is not grpc.aio.EOF:
            self.bundles_heard += 1
            for item in bundle.items:
                if item.stream in self._streams:  # else it was cancelled, and the worker did not know it yet
                    self._streams[item.stream].take(item)

    def _end_streams(self, why: str) -> None:
        """Tells every stream, and those that wait to write. The operator hears the reason, callers only the fact."""
        if self._streams:
            _log.warning("streams lost address=%s streams=%d why=%s", self._address, len(self._streams), why)
        self.is_lost = True
        self._outbox.close()
        for stream in list(self._streams.values()):
            stream.end(End(grpc.StatusCode.UNAVAILABLE, f"the {self._service} worker is lost"))


def _why_over(results: Sequence[object]) -> str:
    """Why a connection has ended, by what its parts say: reading, sending, watching for a stall."""
    errors = (error for error in results if isinstance(error, grpc.aio.AioRpcError))
    if (error := next(errors, None)) is not None:
        return str(error.details() or error.code().name)
    return "it does not take what is sent" if results[-1] is None else "it has ended the connection"
