"""Where our errors meet gRPC: channel and server options, status translation, peers."""

from __future__ import annotations

from typing import NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from moshi_cluster.services.common.errors import NoFreeSlot, SessionError

_KEEPALIVE_MS = 20_000
_KEEPALIVE_TIMEOUT_MS = 8_000

# A worker's initial metadata once it holds a slot for the stream. A refused stream has none of it, so a client knows
# which it is before it sends a frame.
SLOT_HELD = (("moshi-slot", "held"),)

Options = list[tuple[str, int]]


def server_options(max_message_bytes: int, max_streams: int) -> Options:
    """Options of a server whose streams are calls: dead peers are noticed, messages are small."""
    return [
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients may ping a little more often than we do.
        ("grpc.http2.min_ping_interval_without_data_ms", _KEEPALIVE_MS // 2),
        ("grpc.max_concurrent_streams", max_streams),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.so_reuseport", 0),  # a second process on the port is a mistake, not a load balancer
    ]


def channel_options(max_message_bytes: int) -> Options:
    """Options of a channel to a worker."""
    return [
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.use_local_subchannel_pool", 1),  # one connection per worker, not one per process
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]


async def abort(context: grpc.aio.ServicerContext, error: SessionError) -> NoReturn:
    """Ends the rpc with the error's status; a NoFreeSlot carries google.rpc.RetryInfo in the trailing metadata."""
    code = grpc.StatusCode[error.status]
    metadata: tuple[tuple[str, bytes], ...] = ()
    if isinstance(error, NoFreeSlot):
        retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration())
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        detail = any_pb2.Any()
        detail.Pack(retry)
        status = status_pb2.Status(code=code.value[0], message=str(error), details=[detail])
        metadata = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, str(error), metadata)
    raise AssertionError("abort returned")
