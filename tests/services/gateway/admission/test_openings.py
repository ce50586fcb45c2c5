"""Calls that a client begins: some at once, then at a pace, and none that would wait for long."""

from __future__ import annotations

import asyncio

import aiohttp
import grpc
import pytest

from moshi_cluster.services.common.errors import OverQuota
from moshi_cluster.services.gateway.admission.openings import Openings
from moshi_cluster.v1 import gateway_pb2, gateway_pb2_grpc
from tests.services.gateway.api.websocket.chatter import HTTP, LOOPBACK
from tests.services.gateway.cluster import cluster

pytestmark = pytest.mark.usefixtures("nothing_swallowed")


def test_some_begin_at_once_and_the_others_at_a_pace() -> None:
    openings = Openings(10.0, 5)
    assert [openings.delay_s(0.0, "a") for _ in range(5)] == [0.0] * 5
    assert [openings.delay_s(0.0, "a") for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    assert openings.delay_s(1.0, "a") == 0.0


def test_who_would_wait_for_long_is_refused_and_makes_nobody_wait_longer() -> None:
    openings = Openings(10.0, 5)
    for _ in range(35):
        openings.delay_s(0.0, "a")
    for _ in range(100):
        with pytest.raises(OverQuota, match="too many calls begun"):
            openings.delay_s(0.0, "a")
    assert openings.delay_s(0.1, "a") == pytest.approx(3.0)


def test_clients_do_not_wait_for_each_other_and_few_are_remembered() -> None:
    openings = Openings(10.0, 1)
    assert not any(openings.delay_s(0.0, str(client)) for client in range(100_000))
    assert len(openings._paces) < 5000


async def test_calls_of_one_client_that_come_too_fast_are_refused_on_every_transport() -> None:
    async with cluster(max_openings_per_s=0.1, max_sessions_per_client=2, **HTTP) as all_of_it:
        for _ in range(2):
            assert await ended(all_of_it.stub) == grpc.StatusCode.INVALID_ARGUMENT
        assert await ended(all_of_it.stub) == grpc.StatusCode.RESOURCE_EXHAUSTED
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{all_of_it.service.http_port}/api/chat{LOOPBACK}"
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(url)
            assert refused.value.status == 429
            assert all_of_it.sample("moshi_gateway_http_refused_total", reason="openings") == 1


async def ended(stub: gateway_pb2_grpc.GatewayStub) -> grpc.StatusCode:
    rpc = stub.Converse(iter([gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=b"x"))]))
    async with asyncio.timeout(60):
        code: grpc.StatusCode = await rpc.code()
    return code
