"""Connection to Redis or Valkey: steps on records, several in one round trip, each with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from moshi_cluster.services.common.secret_url import SecretUrl
from moshi_cluster.services.gateway.store.record import HEAD
from moshi_cluster.services.gateway.store.scripts import Reply

_CONNECTIONS = 4
_PREFIX = "moshi-cluster:conversation:"

Argument = str | int | bytes


class StoreAway(Exception):
    """The store does not do what it is asked; the text may be logged."""


@dataclass(frozen=True)
class Step:
    """One script on one record."""

    script: str
    name: str  # of the conversation
    arguments: Sequence[Argument]


class RedisClient:
    """Runs steps. Connects when it has to, and again when that broke."""

    def __init__(self, url: SecretUrl, timeout_s: float) -> None:
        """Raises ValueError for what is no address. timeout_s: for a round trip, the way to a connection included."""
        self._timeout_s = timeout_s
        self._pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # whoever asks knows better when to ask again
            protocol=2,
        )
        self._redis = redis.Redis(connection_pool=self._pool)

    async def run(self, steps: Sequence[Step]) -> list[Reply | StoreAway]:
        """How each went, which of them failed. Raises StoreAway when there is no answer."""
        return [_reply(answer) for answer in await self._ask(steps)]

    async def head(self, name: str) -> bytes | None:
        """The sealed head of a record, None if there is none. Raises StoreAway."""
        (head,) = _checked(await self._ask((), lambda pipeline: pipeline.hget(_PREFIX + name, HEAD)))
        return None if head is None else bytes(head)

    async def claim(self, step: Step) -> tuple[Reply, dict[bytes, bytes]]:
        """How a claim went, and the record as it is after it. Raises StoreAway."""
        reply, fields = _checked(await self._ask((step,), lambda pipeline: pipeline.hgetall(_PREFIX + step.name)))
        return Reply(reply.decode()), fields

    async def _ask(self, steps: Sequence[Step], read: Callable[[Any], object] = lambda pipeline: None) -> list[Any]:
        """One round trip."""
        try:
            async with asyncio.timeout(self._timeout_s):
                pipeline = self._redis.pipeline(transaction=False)
                for step in steps:
                    pipeline.eval(step.script, 1, _PREFIX + step.name, *step.arguments)
                read(pipeline)
                return await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError, RuntimeError) as error:
            # asyncio's TimeoutError is an OSError; uvloop raises RuntimeError for a connection that was just closed.
            raise StoreAway(_kind(error)) from None

    async def close(self) -> None:
        """Lets go of the connections."""
        await self._redis.aclose()
        await self._pool.disconnect()


def _checked(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, Exception):
            raise StoreAway(_kind(answer))
    return answers


def _reply(answer: Any) -> Reply | StoreAway:
    return StoreAway(_kind(answer)) if isinstance(answer, Exception) else Reply(answer.decode())


def _kind(error: Exception) -> str:
    """What an error is, with nothing of what was sent: its class, and the code that the server begins with."""
    code = str(error).partition(" ")[0] if isinstance(error, ResponseError) else ""
    return f"{type(error).__name__} {code}".strip() if code.isupper() else type(error).__name__
