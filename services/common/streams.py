"""One session's traffic between its gRPC stream and the engine, the same for every worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError

from moshi_cluster.v1 import common_pb2
from services.common import rpc
from services.common.errors import InvalidInput, LimitReached, SessionError
from services.common.session import Reply, Session

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
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_submit_all(session, requests, parse, idle_timeout_s))
        index = 0
        async for reply in session.replies():
            await within(write(render(reply, index)), idle_timeout_s, "the peer does not read its replies")
            index += 1


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


async def _submit_all(session: Session, requests: AsyncIterator[Any], parse: Parse, idle_timeout_s: float) -> None:
    index = 0
    while True:
        try:
            request = await within(anext(requests), idle_timeout_s, "no frame came")
        except StopAsyncIteration:
            session.finish()
            return
        await session.submit(parse(request, index))
        index += 1
