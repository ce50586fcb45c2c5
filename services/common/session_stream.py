"""A worker's stream of one session, as its handlers see it: typed messages, free of the transport.

Two adapters implement it: `rpc_stream` for a gRPC stream of its own, `mux.server` for one of many on a connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Request_co = TypeVar("Request_co", bound=Message, covariant=True)
Response_contra = TypeVar("Response_contra", bound=Message, contravariant=True)


class SessionStream(Protocol[Request_co, Response_contra]):
    """What a handler reads and writes. It ends the stream well by returning, otherwise by raising SessionError."""

    @property
    def requests(self) -> AsyncIterator[Request_co]:
        """What the peer sends, until it half-closes. Raises DecodeError for bytes that are no such message."""

    async def held(self) -> None:
        """Tells the peer, once and before the first response, that a slot is held: a refused stream never says so."""

    def write(self, response: Response_contra) -> Awaitable[None]:
        """Sends a response; waits while the peer reads too slowly. One at a time."""


@dataclass(frozen=True)
class Method(Generic[Request, Response]):
    """A stream-stream rpc of a worker."""

    handler: Callable[[SessionStream[Request, Response]], Awaitable[None]]
    request_type: type[Request]


Methods = Mapping[str, Method[Any, Any]]
"""Rpcs by full name, for example "/moshi_cluster.v1.Lm/Generate"."""
