"""Whether a client notices a gateway that stands still, and is welcome with its pings."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from moshi_cluster.clients.telephony import access
from moshi_cluster.services.common.rpc import server_options
from tests.services.common.test_keepalive import LATER, DeadLine, Waiting
from tests.services.in_process import PATIENCE_S, status_of


def test_a_gateway_that_stands_still_is_noticed_within_15_s_by_pings_that_it_takes() -> None:
    times = dict(access._KEEPALIVE)
    assert times["grpc.keepalive_time_ms"] + times["grpc.keepalive_timeout_ms"] == 15_000
    assert times["grpc.http2.ping_timeout_ms"] == times["grpc.keepalive_timeout_ms"]
    taken = dict(server_options(1024, 8))["grpc.http2.min_ping_interval_without_data_ms"]
    assert times["grpc.keepalive_time_ms"] >= 2 * taken


async def test_its_channel_notices_a_line_that_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """With times a hundredth and a tenth as long."""
    soon = {"grpc.keepalive_time_ms": 100, "grpc.keepalive_timeout_ms": 1000, "grpc.http2.ping_timeout_ms": 1000}
    monkeypatch.setattr(access, "_KEEPALIVE", tuple((dict(access._KEEPALIVE) | soon).items()))
    waiting = Waiting()
    listener = grpc.aio.server(
        options=[*server_options(1024, 8, LATER), ("grpc.http2.min_ping_interval_without_data_ms", 10)]
    )
    methods = {"Call": grpc.stream_stream_rpc_method_handler(waiting.call)}
    listener.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", methods),))
    line = DeadLine(listener.add_insecure_port("127.0.0.1:0"))
    await listener.start()
    async with line.listening() as target, access.OPEN.grpc_channel(target) as channel:
        call = channel.stream_stream("/test.Test/Call")()
        assert await call.read() == b"here"
        line.cut = {"up", "down"}
        async with asyncio.timeout(PATIENCE_S / 2):
            code, details = await status_of(call)
        assert code is grpc.StatusCode.UNAVAILABLE and "ping timeout" in details
    await listener.stop(None)
