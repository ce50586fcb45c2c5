"""Session pump: one session's frames from its stream to the engine, and the replies back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from moshi_cluster.services.common.errors import LimitReached
from moshi_cluster.services.common.session_stream import Request, Response
from moshi_cluster.services.common.worker.session import Reply, Session
from moshi_cluster.v1 import common_pb2

Parse = Callable[[Request, int], Any]  # (request, expected frame index) -> frame for the engine
Render = Callable[[Reply, int], Response]  # (reply, frame index) -> response message
Write = Callable[[Response], Awaitable[None]]


@dataclass(frozen=True)
class Patience:
    """How long a stream may stand still and keep its slot."""

    first_frame_s: float
    """Before its first frame; a stream that never sends one is of no use to anybody."""
    idle_s: float
    """Between two frames, or two replies that are read."""


async def pump(
    session: Session,
    requests: AsyncIterator[Request],
    write: Write[Response],
    parse: Parse[Request],
    render: Render[Response],
    patience: Patience,
) -> None:
    """Feeds a session's frames to the engine and writes its replies until both are through.

    Raises SessionError: a malformed frame, a failed engine, a worker that stops, or a peer that stands still.
    """
    activity = _Activity(patience)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_submit_all(session, requests, parse, activity))
        watch = tasks.create_task(activity.watch())
        index = 0
        async for reply in session.replies():
            await write(render(reply, index))
            activity.noted()
            index += 1
        watch.cancel()


def timing(reply: Reply) -> common_pb2.HopTiming:
    """A reply's times as the wire has them."""
    return common_pb2.HopTiming(
        queue_us=round(reply.queue_s * 1e6), step_us=round(reply.step_s * 1e6), batch_size=reply.batch_size
    )


async def _submit_all(
    session: Session, requests: AsyncIterator[Request], parse: Parse[Request], activity: _Activity
) -> None:
    index = 0
    async for request in requests:
        activity.noted()
        await session.submit(parse(request, index))
        index += 1
    session.finish()


class _Activity:
    """When a stream last moved. One look now and then costs less than a timer for every message."""

    def __init__(self, patience: Patience) -> None:
        self._clock = asyncio.get_running_loop().time
        self._idle_s = patience.idle_s
        self._limit_s = min(patience.first_frame_s, patience.idle_s)
        self._last_s = self._clock()

    def noted(self) -> None:
        """A frame came, or a reply was taken."""
        self._last_s = self._clock()
        self._limit_s = self._idle_s

    async def watch(self) -> NoReturn:
        """Raises LimitReached once nothing has moved for too long."""
        while True:
            left_s = self._last_s + self._limit_s - self._clock()
            if left_s <= 0:
                raise self._stood_still()
            await asyncio.sleep(left_s)

    def _stood_still(self) -> LimitReached:
        what = "no frame came and no reply was read" if self._limit_s == self._idle_s else "no first frame came"
        return LimitReached(what, limit_s=self._limit_s)
