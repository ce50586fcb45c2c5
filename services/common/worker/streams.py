"""One session's traffic between its gRPC stream and the engine, the same for every worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError

from moshi_cluster.services.common import rpc
from moshi_cluster.services.common.errors import InvalidInput, LimitReached, SessionError
from moshi_cluster.services.common.worker.session import Reply, Session
from moshi_cluster.v1 import common_pb2

T = TypeVar("T")

Parse = Callable[[Any, int], Any]  # (request, expected frame index) -> frame for the engine
Render = Callable[[Reply, int], Any]  # (reply, frame index) -> response message
Write = Callable[[Any], Awaitable[None]]


@asynccontextmanager
async def statuses(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    """Turns a SessionError raised inside, alone or in a group, into the rpc's status."""
    failure: SessionError | None = None
    try:
        yield
    except Exception as error:
        failure = session_error(error)
        if failure is None:
            raise
    if failure is not None:
        await rpc.abort(context, failure)


def session_error(error: Exception) -> SessionError | None:
    """What an exception, alone or a group of groups, says to the session's peer; None for what is our own fault."""
    if isinstance(error, ExceptionGroup):
        parts = [session_error(part) for part in error.exceptions]
        return None if None in parts else parts[0]
    if isinstance(error, DecodeError):  # gRPC reads the bytes when the message is asked for
        return InvalidInput("message", "is not of the rpc's type")
    return error if isinstance(error, SessionError) else None


async def pump(
    session: Session, requests: AsyncIterator[Any], write: Write, parse: Parse, render: Render, idle_timeout_s: float
) -> None:
    """Feeds a session's frames to the engine and writes its replies until both are through.

    Raises SessionError: a malformed frame, a failed engine, or a peer that stands still for `idle_timeout_s`.
    """
    activity = _Activity()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_submit_all(session, requests, parse, activity))
        watch = tasks.create_task(activity.watch(idle_timeout_s))
        index = 0
        async for reply in session.replies():
            await write(render(reply, index))
            activity.noted()
            index += 1
        watch.cancel()


async def within(work: Awaitable[T], seconds: float, problem: str) -> T:
    """Awaits work with a deadline. Raises LimitReached with the problem."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise LimitReached(f"{problem} (limit {seconds:g} s)") from None


def timing(reply: Reply) -> common_pb2.HopTiming:
    """The reply's times as the wire has them."""
    return common_pb2.HopTiming(
        queue_us=round(reply.queue_s * 1e6), step_us=round(reply.step_s * 1e6), batch_size=reply.batch_size
    )


async def _submit_all(session: Session, requests: AsyncIterator[Any], parse: Parse, activity: _Activity) -> None:
    index = 0
    async for request in requests:
        activity.noted()
        await session.submit(parse(request, index))
        index += 1
    session.finish()


class _Activity:
    """When a stream last moved. One look now and then costs less than a timer for every message."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self.noted()

    def noted(self) -> None:
        """A frame came, or a reply was taken."""
        self._last_s = self._clock()

    async def watch(self, idle_timeout_s: float) -> NoReturn:
        """Raises LimitReached once nothing has moved for that long."""
        while True:
            left_s = self._last_s + idle_timeout_s - self._clock()
            if left_s <= 0:
                raise LimitReached(f"no frame came and no reply was read (limit {idle_timeout_s:g} s)")
            await asyncio.sleep(left_s)
