"""gRPC as every service uses it: the options of servers and channels, and the status that an error becomes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from moshi_cluster.services.common.errors import SessionError, session_error

Options = list[tuple[str, Any]]

ERROR_DOMAIN = "moshi-cluster"
"""Whose reasons those of google.rpc.ErrorInfo are."""

DIRECT: Options = [("grpc.enable_http_proxy", 0)]
"""Options of every channel within the cluster and to this machine: the environment's HTTP proxy is not for them."""


@dataclass(frozen=True)
class KeepAlive:
    """When a peer that says nothing counts as dead: after `silence_ms` and `answer_ms`, sooner while frames are sent.

    A network may stall for `answer_ms` and then deliver; nothing is lost by it.
    """

    silence_ms: int = 10_000
    """A peer that was not heard of for this long is asked by a ping."""
    answer_ms: int = 18_000
    """A ping, or a frame, that is not acknowledged for this long ends the connection."""

    @property
    def options(self) -> Options:
        """The same for servers and channels."""
        return [
            ("grpc.keepalive_time_ms", self.silence_ms),
            ("grpc.keepalive_timeout_ms", self.answer_ms),
            # What gRPC goes by; alone, the option above leaves it at a minute.
            ("grpc.http2.ping_timeout_ms", self.answer_ms),
            # Who only listens pings as often as who talks; else the third ping waits for a minute.
            ("grpc.http2.max_pings_without_data", 0),
        ]


KEEP_ALIVE = KeepAlive()


def server_options(max_message_bytes: int, max_streams: int, keep_alive: KeepAlive = KEEP_ALIVE) -> Options:
    """Options of a server whose streams are calls: dead peers are noticed, messages are small."""
    return [
        *keep_alive.options,
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients may ping more often than we do.
        ("grpc.http2.min_ping_interval_without_data_ms", keep_alive.silence_ms // 2),
        ("grpc.max_concurrent_streams", max_streams),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.so_reuseport", 0),  # a second process on the port is a mistake, not a load balancer
    ]


def channel_options(max_message_bytes: int, keep_alive: KeepAlive = KEEP_ALIVE) -> Options:
    """Options of a channel to a worker."""
    return [
        *DIRECT,
        *keep_alive.options,
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.use_local_subchannel_pool", 1),  # one connection per worker, not one per process
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]


@asynccontextmanager
async def statuses(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    """Turns a SessionError raised inside, alone or in a group, into the rpc's status.

    The trailing metadata has google.rpc.ErrorInfo with its reason and figures, and google.rpc.RetryInfo where it knows
    when to try again.
    """
    failure: SessionError | None = None
    try:
        yield
    except Exception as error:
        failure = session_error(error)
        if failure is None:
            raise
    if failure is not None:
        await _abort(context, failure)


async def _abort(context: grpc.aio.ServicerContext, error: SessionError) -> NoReturn:
    await context.abort(grpc.StatusCode[error.status], str(error), _details(error))
    raise AssertionError("abort returned")


def _details(error: SessionError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata of an error's status."""
    code: int = grpc.StatusCode[error.status].value[0]
    status = status_pb2.Status(code=code, message=str(error))
    if error.retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration())
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        status.details.add().Pack(retry)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=error.figures)
    status.details.add().Pack(info)
    return (("grpc-status-details-bin", status.SerializeToString()),)
