"""What docs/proxies.md says of lines that are missing or different: seen, so that nobody keeps a line for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest

from moshi_cluster.v1 import gateway_pb2_grpc
from tests.deploy.proxied import ELSEWHERE, behind, cluster_behind
from tests.deploy.proxy_processes import Upstream
from tests.services.gateway.caller import SAID, START, Caller
from tests.services.in_process import status_of

Code = grpc.StatusCode


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
async def test_haproxy_announces_clients_by_the_proxy_protocol(version: str, tmp_path: Path) -> None:
    changes = {"    option forwardfor\n": "", " check inter 2s": f" check inter 2s {version} check-send-proxy"}
    only_checks = {f" check inter 2s {version} check-send-proxy port": " check inter 2s check-send-proxy port"}
    settings = {"http_proxy_protocol": True, "max_sessions_per_client": 1}
    async with (
        cluster_behind("haproxy", tmp_path, changes | only_checks, **settings) as (all_of_it, seen),
        seen.chatting(source=ELSEWHERE) as first,
        seen.chatting(source="127.0.0.8") as neighbour,
        seen.chatting(source=ELSEWHERE, headers={"X-Forwarded-For": "198.51.100.1"}) as second,
    ):
        await first.ready()
        await neighbour.ready()
        assert await second.end() == (1013, "this client already holds all its calls")
        assert all_of_it.sample("moshi_gateway_http_refused_total", reason="proxy") == 0
        caller = Caller(seen.stub)
        await caller.start()
        assert (await caller.hang_up()).levels == []


async def test_nginx_ends_a_call_after_a_megabyte_unless_it_is_told_not_to(tmp_path: Path) -> None:
    async with cluster_behind("nginx", tmp_path, {"    client_max_body_size 0;\n": ""}) as (_, seen):
        caller = Caller(seen.stub)
        await caller.start()
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # reading says why
            await caller.say_levels(SAID * 7)
        assert (await caller.status())[0] is Code.INTERNAL


async def test_nginx_answers_for_a_gateway_that_is_gone_with_a_page_unless_it_is_told_not_to(tmp_path: Path) -> None:
    """gRPC's core makes of it what comes first: of the page's status the right one, of the stream's end another."""
    changes = {"        error_page 502 504 = @moshi_unavailable;\n": ""}
    async with behind("nginx", tmp_path, Upstream(1, 1), changes=changes) as seen:
        code, details = await status_of(seen.stub.Converse())
        assert code in (Code.UNAVAILABLE, Code.INTERNAL)
        assert details != "no gateway answers"


def _is_haproxy_2_6() -> bool:
    return bool(shutil.which("haproxy")) and " 2.6." in subprocess.check_output(["haproxy", "-v"], text=True)


@pytest.mark.skipif(not _is_haproxy_2_6(), reason="HAProxy is not 2.6")
async def test_haproxy_2_6_makes_cancelled_of_a_status_unless_it_passes_bytes_on(tmp_path: Path) -> None:
    """Now and then, by what comes first. A later one is right, and docs/proxies.md has better lines for it."""
    changes = {
        "    mode tcp\n": "    mode http\n",
        "    option tcplog\n": "",
        " port ": " proto h2 check-proto h1 port ",
    }
    async with cluster_behind("haproxy", tmp_path, changes, max_sessions=1) as (_, seen):
        await Caller(seen.stub).start()
        assert Code.CANCELLED in [await _refused(seen.stub) for _ in range(20)]


async def _refused(stub: gateway_pb2_grpc.GatewayStub) -> Code:
    call = stub.Converse()
    await call.write(START)
    return (await status_of(call))[0]
