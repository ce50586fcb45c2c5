"""A conversation that goes on over another connection when one is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace

from moshi_cluster.clients.cli.talk.connection import CallOptions, Connection, Heard, Notice, Ready
from moshi_cluster.clients.telephony.errors import CallLost
from moshi_cluster.clients.telephony.resuming import Attempts, Resume
from moshi_cluster.clients.telephony.wire_formats import S16Samples

Open = Callable[[CallOptions], AbstractAsyncContextManager[Connection]]


class ResumingConnection:
    """One connection after another. What is said while there is none is lost."""

    def __init__(self, open_connection: Open, options: CallOptions) -> None:
        self._open = open_connection
        self._options = options
        self._current: Connection | None = None
        self._attempts = Attempts()
        self._closing = False

    @property
    def resume(self) -> Resume | None:
        """See Connection."""
        return self._options.resume

    async def say(self, samples: S16Samples) -> None:
        """See Connection."""
        if self._current is not None:
            await self._current.say(samples)

    async def hang_up(self) -> None:
        """See Connection."""
        self._closing = True
        if self._current is not None:
            await self._current.hang_up()

    async def hear(self) -> AsyncGenerator[Heard, None]:
        """See Connection. Raises CallError when nothing goes on with it any more."""
        while True:
            try:
                async with aclosing(self._hear_one()) as heard:
                    async for item in heard:
                        yield item
                return
            except CallLost as lost:
                delay_s = self._attempts.delay_s()
                if self._options.resume is None or delay_s is None or self._closing:
                    raise
                yield Notice(f"lost: {lost}")
                await asyncio.sleep(delay_s)

    async def _hear_one(self) -> AsyncGenerator[Heard, None]:
        async with self._open(self._options) as connection:
            self._current = connection
            try:
                async with aclosing(connection.hear()) as heard:
                    async for item in heard:
                        if isinstance(item, Ready):
                            self._attempts.succeeded()
                        yield item
            finally:
                self._current = None
                self._options = replace(self._options, resume=connection.resume or self._options.resume)
