"""The environment's HTTP proxy: nothing within a cluster, and nothing on this machine, is asked for through it."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from moshi_cluster.clients.telephony.access import Access
from moshi_cluster.cluster.direct_http import open_direct
from moshi_cluster.services.common.metrics import MetricsEndpoint
from moshi_cluster.services.common.probe import is_serving
from moshi_cluster.v1 import gateway_pb2_grpc
from tests.services.gateway.caller import Caller
from tests.services.gateway.cluster import cluster
from tests.services.in_process import PATIENCE_S


@pytest.fixture(autouse=True)
def proxy_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("grpc_proxy", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")


async def test_a_gateway_reaches_its_workers() -> None:
    async with asyncio.timeout(PATIENCE_S), cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([3])
        assert (await caller.hang_up()).levels == [3]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_our_clients_reach_a_gateway_on_this_machine(host: str) -> None:
    async with cluster() as all_of_it:
        target = f"{host}:{all_of_it.target.rpartition(':')[2]}"
        async with Access().grpc_channel(target) as channel, asyncio.timeout(PATIENCE_S):
            caller = Caller(gateway_pb2_grpc.GatewayStub(channel))
            await caller.start()
            await caller.hang_up()


async def test_a_gateway_elsewhere_is_called_as_the_environment_says() -> None:
    async with Access().grpc_channel("192.0.2.1:50051") as channel, asyncio.timeout(PATIENCE_S):
        with pytest.raises(grpc.aio.AioRpcError, match="127.0.0.1:1") as error:
            await Caller(gateway_pb2_grpc.GatewayStub(channel)).start()
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_probe_asks_the_process_itself() -> None:
    servicer = health.aio.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    assert await asyncio.to_thread(is_serving, f"127.0.0.1:{port}", PATIENCE_S)
    await server.stop(None)


def test_metrics_of_this_machine_are_read_from_the_process_itself() -> None:
    with (
        MetricsEndpoint("127.0.0.1", 0, CollectorRegistry()) as endpoint,
        open_direct(f"http://127.0.0.1:{endpoint.port}/metrics", PATIENCE_S) as answer,
    ):
        assert answer.status == 200
