"""Errors as a caller sees them, over a real stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from moshi_cluster.services.common import errors, rpc

Call = Callable[[bytes], Awaitable[Any]]
Handler = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[Any]]

RAISED = [
    (errors.InvalidInput("codes", "too many"), grpc.StatusCode.INVALID_ARGUMENT, "codes: too many"),
    (errors.NoFreeSlot("all slots are in use"), grpc.StatusCode.RESOURCE_EXHAUSTED, "all slots are in use"),
    (errors.Unavailable("draining"), grpc.StatusCode.UNAVAILABLE, "draining"),
    (errors.LimitReached("too long"), grpc.StatusCode.DEADLINE_EXCEEDED, "too long"),
    (errors.EngineFailed("broken"), grpc.StatusCode.INTERNAL, "broken"),
]


@asynccontextmanager
async def answering(handler: Handler, max_message_bytes: int = 1024) -> AsyncIterator[Call]:
    """A server whose one rpc is `handler`, and the way to call it."""
    server = grpc.aio.server(options=rpc.server_options(max_message_bytes, max_streams=8))
    methods = {"Call": grpc.unary_unary_rpc_method_handler(handler)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", rpc.channel_options(1024)) as channel:
        yield channel.unary_unary("/test.Test/Call")
    await server.stop(None)


async def error_of(raised: BaseException) -> grpc.aio.AioRpcError:
    async def handler(request: bytes, context: grpc.aio.ServicerContext) -> None:
        async with rpc.statuses(context):
            raise raised

    async with answering(handler) as call:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
    return caught.value


@pytest.mark.parametrize(("raised", "status", "message"), RAISED)
async def test_every_error_has_its_status(raised: Exception, status: grpc.StatusCode, message: str) -> None:
    error = await error_of(raised)
    assert (error.code(), error.details()) == (status, message)


async def test_an_error_inside_task_groups_keeps_its_status() -> None:
    nested = ExceptionGroup("outer", [ExceptionGroup("inner", [errors.InvalidInput("pcm", "empty")])])
    error = await error_of(nested)
    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "pcm: empty")


async def test_a_bug_beside_an_error_is_not_hidden_by_it() -> None:
    group = ExceptionGroup("both", [errors.InvalidInput("pcm", "empty"), ZeroDivisionError()])
    assert (await error_of(group)).code() == grpc.StatusCode.UNKNOWN


@pytest.mark.parametrize("kind", [errors.NoFreeSlot, errors.Unavailable])
async def test_who_is_full_or_lost_says_when_to_try_again(kind: Callable[[str, int], errors.SessionError]) -> None:
    error = await error_of(kind("not now", 1500))
    status = rpc_status.from_call(error)
    assert status is not None
    assert status.code == error.code().value[0]
    retry = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1500


async def test_messages_beyond_the_limit_are_refused() -> None:
    async def handler(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return request

    async with answering(handler, max_message_bytes=64) as call:
        assert await call(bytes(64)) == bytes(64)
        with pytest.raises(grpc.aio.AioRpcError, match="RESOURCE_EXHAUSTED"):
            await call(bytes(65))


async def test_a_second_process_on_the_port_is_a_mistake() -> None:
    first = grpc.aio.server(options=rpc.server_options(64, 8))
    second = grpc.aio.server(options=rpc.server_options(64, 8))
    port = first.add_insecure_port("127.0.0.1:0")
    with pytest.raises(RuntimeError, match="Failed to bind"):
        second.add_insecure_port(f"127.0.0.1:{port}")
    await first.stop(None)
    await second.stop(None)
