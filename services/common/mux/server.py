"""A worker's end of the stream multiplexer: every stream on a connection runs the handler that one of its own would."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, NoReturn

import grpc

from moshi_cluster.services.common.errors import Draining, LimitReached, session_error
from moshi_cluster.services.common.mux.buffers import End, Inbox, Outbox
from moshi_cluster.services.common.mux.open_pace import OpenPace
from moshi_cluster.services.common.rpc import statuses
from moshi_cluster.services.common.session_id import SESSION_ID, known_session_id
from moshi_cluster.services.common.session_stream import Method, Methods, Request, Response
from moshi_cluster.v1 import trunk_pb2, trunk_pb2_grpc

_log = logging.getLogger(__name__)


class MuxServicer(trunk_pb2_grpc.TrunkServicer):
    """Servicer of the multiplexer: carries the streams of a worker's own methods."""

    def __init__(
        self,
        methods: Methods,
        draining: asyncio.Event,
        streams_max: int = 4096,
        make_outbox: Callable[[], Outbox] = Outbox,
    ) -> None:
        """draining: once it is set, a connection ends with its last stream.

        streams_max: of one connection; slots limit the sessions, this limits how many are refused at one moment.
        make_outbox: of a connection; says how much may wait, and for how long a gateway may leave it unread.
        """
        self._methods = methods
        self._draining = draining
        self._streams_max = streams_max
        self._make_outbox = make_outbox

    async def Carry(
        self, request_iterator: AsyncIterator[trunk_pb2.TrunkBundle], context: grpc.aio.ServicerContext
    ) -> None:
        async with statuses(context):
            await context.send_initial_metadata(())
            outbox = self._make_outbox()
            connection = MuxServerConnection(self._methods, self._draining, self._streams_max, outbox)
            await connection.run(request_iterator, context.write)
            if self._draining.is_set():
                raise Draining("the worker is stopping")


class MuxServerConnection:
    """One gateway's connection and the streams on it.

    What a gateway does not read is bounded: while the outbox is full nothing more is taken from that gateway, so that
    it holds at most its own limit and a status for each stream that runs.
    """

    def __init__(self, methods: Methods, draining: asyncio.Event, streams_max: int, outbox: Outbox) -> None:
        self._methods = methods
        self._draining = draining
        self._streams_max = streams_max
        self._outbox = outbox
        self._streams: dict[int, tuple[MuxSessionStream[Any, Any], asyncio.Task[None]]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    async def run(
        self,
        bundles: AsyncIterator[trunk_pb2.TrunkBundle],
        write: Callable[[trunk_pb2.TrunkBundle], Awaitable[None]],
    ) -> None:
        """Returns when the gateway lets go of the connection, or the worker drains and the last stream is over.

        Raises LimitReached when the gateway does not read.
        """
        work = (self._read(bundles), self._outbox.send(write), self._stalled(), self._over())
        parts = [asyncio.ensure_future(part) for part in work]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            running = [*parts, *(task for _, task in self._streams.values())]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _read(self, bundles: AsyncIterator[trunk_pb2.TrunkBundle]) -> None:
        pace = OpenPace()
        async for bundle in bundles:
            for item in bundle.items:
                if self._outbox.is_full:
                    await self._outbox.until_writable()
                self._take(item)
                if item.HasField("open") and (delay_s := pace.delay_s(time.monotonic())):
                    await asyncio.sleep(delay_s)

    async def _stalled(self) -> NoReturn:
        await self._outbox.until_stalled()
        raise LimitReached("what the worker sends is not read")

    async def _over(self) -> None:
        await self._draining.wait()
        await self._empty.wait()
        await self._outbox.all_sent()

    def _take(self, item: trunk_pb2.TrunkItem) -> None:
        kind = item.WhichOneof("item")
        if kind == "open":
            self._open(item.stream, item.open, item.session_id)
        elif item.stream in self._streams:  # else it has ended and the gateway does not know it yet
            stream, task = self._streams[item.stream]
            if kind == "message":
                if not stream.inbox.put(item.message):
                    stream.overrun()
                    task.cancel()
            elif kind == "done_writing":
                stream.inbox.close(End(grpc.StatusCode.OK))
            elif kind == "cancel":
                task.cancel()

    def _open(self, number: int, name: str, session_id: str) -> None:
        problem = self._problem(number, name)
        if problem is not None:
            self._outbox.put(_status(number, problem))
            return
        stream = MuxSessionStream(number, self._methods[name], self._outbox)
        context = contextvars.copy_context()
        context.run(SESSION_ID.set, known_session_id(session_id))
        task = asyncio.create_task(stream.run(), context=context)
        self._streams[number] = stream, task
        self._empty.clear()
        task.add_done_callback(lambda _: self._forget(number))

    def _problem(self, number: int, name: str) -> End | None:
        if name not in self._methods:
            return End(grpc.StatusCode.UNIMPLEMENTED, f"no method {name!r}")
        if number in self._streams:
            return End(grpc.StatusCode.INVALID_ARGUMENT, "stream: the number is in use")
        if len(self._streams) >= self._streams_max:
            return End(grpc.StatusCode.RESOURCE_EXHAUSTED, "more streams than a trunk may have")
        return None

    def _forget(self, number: int) -> None:
        del self._streams[number]
        if not self._streams:
            self._empty.set()


class MuxSessionStream(Generic[Request, Response]):
    """A session's stream as one of many on a connection. Implements SessionStream."""

    def __init__(self, number: int, method: Method[Request, Response], outbox: Outbox) -> None:
        self.inbox = Inbox()
        self.requests = _Requests(self.inbox, method.request_type)
        self._number = number
        self._method = method
        self._outbox = outbox
        self._overrun = False

    async def held(self) -> None:
        """Says that a slot is held."""
        await self._outbox.until_writable()
        self._outbox.put(trunk_pb2.TrunkItem(stream=self._number, held=True))

    async def write(self, response: Response) -> None:
        """Sends a response."""
        await self._outbox.until_writable()
        self._outbox.put(trunk_pb2.TrunkItem(stream=self._number, message=response.SerializeToString()))

    def overrun(self) -> None:
        """More came than may wait: the stream is about to be cancelled for it."""
        self._overrun = True

    async def run(self) -> None:
        """Runs the handler and tells its end, except when the gateway cancelled it."""
        self._outbox.put(_status(self._number, await self._end()))

    async def _end(self) -> End:
        try:
            await self._method.handler(self)
        except asyncio.CancelledError:
            if not self._overrun:
                raise
            return End(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many unread messages")
        except Exception as error:
            known = session_error(error)
            if known is not None:
                return End(grpc.StatusCode[known.status], str(known), figures=known.figures)
            _log.exception("a stream's handler failed")
            return End(grpc.StatusCode.INTERNAL, "the handler failed")
        return End(grpc.StatusCode.OK)


class _Requests(Generic[Request]):
    """A stream's requests as they arrive."""

    def __init__(self, inbox: Inbox, request_type: type[Request]) -> None:
        self._inbox = inbox
        self._request_type = request_type

    def __aiter__(self) -> _Requests[Request]:
        return self

    async def __anext__(self) -> Request:
        item = await self._inbox.get()
        if isinstance(item, End):
            raise StopAsyncIteration
        return self._request_type.FromString(item)


def _status(number: int, end: End) -> trunk_pb2.TrunkItem:
    status = trunk_pb2.TrunkStatus(code=end.code.value[0], text=end.text, figures=end.figures)
    return trunk_pb2.TrunkItem(stream=number, status=status)
