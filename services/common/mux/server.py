"""A worker's end of a trunk: every stream on it runs the same handler as a stream of its own would."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc

from moshi_cluster.services.common.mux.buffers import End, Inbox, Outbox
from moshi_cluster.services.common.rpc import SLOT_HELD
from moshi_cluster.v1 import trunk_pb2, trunk_pb2_grpc

_log = logging.getLogger(__name__)

_STREAMS_MAX = 4096  # of one trunk; sessions are limited by slots, this limits what is refused at one moment


@dataclass(frozen=True)
class Method:
    """A stream-stream rpc."""

    handler: Callable[[Any, Any], Awaitable[None]]  # (requests, context), as grpc.aio calls it
    request_type: Any  # protobuf message class


class MuxServicer(trunk_pb2_grpc.TrunkServicer):
    """Carries the streams of a worker's own methods."""

    def __init__(self, methods: Mapping[str, Method], draining: asyncio.Event) -> None:
        """methods: by full name. draining: once it is set, a trunk ends with its last stream."""
        self._methods = methods
        self._draining = draining

    async def Carry(
        self, request_iterator: AsyncIterator[trunk_pb2.TrunkBundle], context: grpc.aio.ServicerContext
    ) -> None:
        await MuxConnection(self._methods, self._draining).run(request_iterator, context.write)
        if self._draining.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the worker is stopping")


class MuxConnection:
    """One trunk."""

    def __init__(self, methods: Mapping[str, Method], draining: asyncio.Event) -> None:
        self._methods = methods
        self._draining = draining
        self._outbox = Outbox()
        self._streams: dict[int, tuple[_Stream, asyncio.Task[None]]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    async def run(
        self,
        bundles: AsyncIterator[trunk_pb2.TrunkBundle],
        write: Callable[[trunk_pb2.TrunkBundle], Awaitable[None]],
    ) -> None:
        """Returns when the gateway lets go of the trunk, or the worker drains and the last stream is over."""
        parts = [asyncio.ensure_future(part) for part in (self._read(bundles), self._outbox.send(write), self._over())]
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
        async for bundle in bundles:
            for item in bundle.items:
                self._take(item)

    async def _over(self) -> None:
        await self._draining.wait()
        await self._empty.wait()
        await self._outbox.all_sent()

    def _take(self, item: trunk_pb2.TrunkItem) -> None:
        kind = item.WhichOneof("item")
        if kind == "open":
            self._open(item.stream, item.open)
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

    def _open(self, number: int, name: str) -> None:
        problem = self._problem(number, name)
        if problem is not None:
            self._outbox.put(_status(number, *problem))
            return
        stream = _Stream(number, self._methods[name], self._outbox)
        task = asyncio.create_task(stream.run())
        self._streams[number] = stream, task
        self._empty.clear()
        task.add_done_callback(lambda _: self._forget(number))

    def _problem(self, number: int, name: str) -> tuple[grpc.StatusCode, str] | None:
        if name not in self._methods:
            return grpc.StatusCode.UNIMPLEMENTED, f"no method {name!r}"
        if number in self._streams:
            return grpc.StatusCode.INVALID_ARGUMENT, f"stream: {number} is in use"
        if len(self._streams) >= _STREAMS_MAX:
            return grpc.StatusCode.RESOURCE_EXHAUSTED, f"at most {_STREAMS_MAX} streams on a trunk"
        return None

    def _forget(self, number: int) -> None:
        del self._streams[number]
        if not self._streams:
            self._empty.set()


class _Stream:
    """One stream on a trunk; to its handler it is the rpc's context."""

    def __init__(self, number: int, method: Method, outbox: Outbox) -> None:
        self.inbox = Inbox()
        self._number = number
        self._method = method
        self._outbox = outbox
        self._overrun = False

    def overrun(self) -> None:
        """More came than may wait: the stream is about to be cancelled for it."""
        self._overrun = True

    async def run(self) -> None:
        """Runs the handler and tells its end, except when the gateway cancelled it."""
        code, text = grpc.StatusCode.OK, ""
        try:
            await self._method.handler(_Requests(self.inbox, self._method.request_type), self)
        except asyncio.CancelledError:
            if not self._overrun:
                raise
            code, text = grpc.StatusCode.RESOURCE_EXHAUSTED, "too many unread messages"
        except _Aborted as aborted:
            code, text = aborted.code, aborted.text
        except Exception:
            _log.exception("a stream's handler failed")
            code, text = grpc.StatusCode.INTERNAL, "the handler failed"
        self._outbox.put(_status(self._number, code, text))

    # --- what the handlers use of grpc.aio.ServicerContext

    async def send_initial_metadata(self, metadata: Sequence[tuple[str, str]]) -> None:
        """Of metadata only the news that a slot is held passes."""
        if tuple(metadata) == SLOT_HELD:
            self._outbox.put(trunk_pb2.TrunkItem(stream=self._number, held=True))

    async def write(self, message: Any) -> None:
        """Sends a response."""
        await self._outbox.room()
        self._outbox.put(trunk_pb2.TrunkItem(stream=self._number, message=message.SerializeToString()))

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """Ends the stream; trailing metadata is for callers, a gateway makes its own."""
        raise _Aborted(code, details)


class _Requests:
    """A stream's requests as grpc.aio gives them to a handler. Raises DecodeError for bytes of another type."""

    def __init__(self, inbox: Inbox, request_type: Any) -> None:
        self._inbox = inbox
        self._request_type = request_type

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> Any:
        item = await self._inbox.get()
        if isinstance(item, End):
            raise StopAsyncIteration
        return self._request_type.FromString(item)


class _Aborted(Exception):
    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def _status(number: int, code: grpc.StatusCode, text: str) -> trunk_pb2.TrunkItem:
    return trunk_pb2.TrunkItem(stream=number, status=trunk_pb2.TrunkStatus(code=code.value[0], text=text))
