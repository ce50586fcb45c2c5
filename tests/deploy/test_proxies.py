"""Calls through nginx, HAProxy and Caddy as deploy/proxies sets them up: every status is the gateway's own."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from moshi_cluster.v1 import gateway_pb2
from tests.deploy.proxied import (
    ELSEWHERE,
    SETTINGS,
    Behind,
    behind,
    channel_to,
    cluster_behind,
    gateway_processes,
    relayed_from,
    upstream_of,
    upstreams_of,
)
from tests.deploy.proxy_processes import PROXIES, Upstream
from tests.services.gateway.api.websocket.chatter import METADATA, STATS, coming_back
from tests.services.gateway.caller import F32_24K, SAID, START, Caller, balanced, start
from tests.services.gateway.cluster import cluster
from tests.services.in_process import PATIENCE_S, eventually, read_all, status_of

CALL_S = float(os.environ.get("MOSHI_PROXY_CALL_S", "1"))
"""How long a call in real time lasts, and how long one that says nothing; docs/proxies.md says what was measured."""
Code = grpc.StatusCode
MULAW = gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_MULAW, sample_rate_hz=8000)
WRONG_START = gateway_pb2.ConverseRequest(start=start(reply_packet_ms=7777))
TOO_LARGE = gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=bytes(1 << 21)))
# What has begun to be answered has no status left to map: HTTP/2 ends the stream, and gRPC calls that INTERNAL.
KILLED_IN_A_CALL = {"nginx": Code.INTERNAL, "haproxy": Code.UNAVAILABLE, "caddy": Code.INTERNAL}

pytestmark = pytest.mark.parametrize("name", PROXIES)


async def test_more_than_a_megabyte_of_a_call_arrives_and_is_answered(name: str, tmp_path: Path) -> None:
    """nginx ends a request body there, unless it is told not to."""
    async with cluster_behind(name, tmp_path) as (_, seen):
        caller = Caller(seen.stub)
        await caller.start()
        await caller.say_levels(SAID * 7)
        assert (await caller.hang_up()).levels == SAID * 7


@pytest.mark.timeout(600)
async def test_calls_in_real_time_last_as_long_as_their_callers_like(name: str, tmp_path: Path) -> None:
    """One in PCM, one in μ-law, and one in which nothing is said and no reply wanted, so that nothing passes at all."""
    limits = {"idle_timeout_s": 3600.0, "jitter_allowance_ms": 2000}
    async with cluster_behind(name, tmp_path, **limits) as (_, seen), asyncio.TaskGroup() as calls:
        calls.create_task(_talk(seen, F32_24K, np.full(480, 0.5, "<f4").tobytes()))
        calls.create_task(_talk(seen, MULAW, bytes(160)))
        calls.create_task(_say_nothing(seen))


async def _talk(seen: Behind, spoken: gateway_pb2.AudioFormat, packet: bytes) -> None:
    """A packet every 20 ms, and every frame answered."""
    caller = Caller(seen.stub)
    await caller.start(input_format=spoken)
    reading = asyncio.create_task(caller.until("ended"))
    began_s = time.monotonic()
    for number in range(round(CALL_S / 0.02)):
        await asyncio.sleep(max(0.0, began_s + 0.02 * number - time.monotonic()))
        await caller.say(packet)
    await caller.call.done_writing()
    counters = (await reading).ended.counters
    assert (await status_of(caller.call))[0] is Code.OK
    assert counters.frames_in == math.ceil(CALL_S / 0.08)
    assert counters.frames_out == counters.frames_in + counters.frames_filled


async def _say_nothing(seen: Behind) -> None:
    caller = Caller(seen.stub)
    await caller.start()
    await caller.control(pause=gateway_pb2.Control.Pause())
    await asyncio.sleep(CALL_S)
    ended = (await caller.hang_up()).ended
    assert balanced(ended.counters)
    assert ended.counters.frames_in == 0


async def refused(seen: Behind, *requests: gateway_pb2.ConverseRequest, **options: Any) -> grpc.aio.AioRpcError:
    """How a call ends that is not taken."""
    call = seen.stub.Converse(**options)
    with contextlib.suppress(grpc.aio.AioRpcError):  # reading says why
        for request in requests:
            await call.write(request)
    try:
        await read_all(call)
    except grpc.aio.AioRpcError as error:
        return error
    pytest.fail("the call was taken and ended well")


TOKEN = (("authorization", "Bearer secret"),)
REFUSALS: dict[str, tuple[Code, list[gateway_pb2.ConverseRequest], dict[str, Any]]] = {
    "no token": (Code.UNAUTHENTICATED, [START], {}),
    "a wrong start": (Code.INVALID_ARGUMENT, [WRONG_START], {"metadata": TOKEN}),
    "no start": (Code.DEADLINE_EXCEEDED, [], {}),
    "too late": (Code.DEADLINE_EXCEEDED, [START], {"metadata": TOKEN, "timeout": 0.5}),
    "too large": (Code.RESOURCE_EXHAUSTED, [TOO_LARGE], {"metadata": TOKEN}),
}


async def test_what_the_gateway_refuses_has_its_status(name: str, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("secret\n")
    settings = {"token_file": str(tmp_path / "tokens"), "open_timeout_s": 3.0}
    async with cluster_behind(name, tmp_path, **settings) as (_, seen):
        found = {case: await refused(seen, *requests, **how) for case, (_, requests, how) in REFUSALS.items()}
    assert {case: error.code() for case, error in found.items()} == {
        case: code for case, (code, *_) in REFUSALS.items()
    }


async def test_a_full_gateway_says_when_to_try_again_and_an_idle_call_that_it_is_over(
    name: str, tmp_path: Path
) -> None:
    async with cluster_behind(name, tmp_path, max_sessions=1, idle_timeout_s=3.0) as (_, seen):
        holding = Caller(seen.stub)
        await holding.start()
        error = await refused(seen, START)
        assert error.code() is Code.RESOURCE_EXHAUSTED
        retry = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(retry) for detail in rpc_status.from_call(error).details)
        assert retry.retry_delay.ToMilliseconds() == 250
        assert (await holding.status())[0] is Code.DEADLINE_EXCEEDED


async def test_who_cancels_frees_their_slots(name: str, tmp_path: Path) -> None:
    async with cluster_behind(name, tmp_path) as (all_of_it, seen):
        caller = Caller(seen.stub)
        await caller.start()
        caller.call.cancel()
        await all_of_it.until_free()
        await eventually(lambda: all_of_it.sample("moshi_gateway_sessions_total", outcome="CANCELLED") == 1)


async def test_a_drain_is_told_and_ends_as_without_a_proxy(name: str, tmp_path: Path) -> None:
    async with cluster_behind(name, tmp_path) as (all_of_it, seen):
        caller = Caller(seen.stub)
        await caller.start()
        async with seen.chatting(STATS) as chatter:
            await chatter.ready()
            all_of_it.service.drain(62.0)
            event = (await caller.until("event", gateway_pb2.Event.KIND_GO_AWAY)).event
            assert event.detail == "the gateway stops: the call ends in 60 s"
            assert (await chatter.until(METADATA, "event"))["kind"] == "go_away"
            assert (await refused(seen, START)).code() is Code.UNAVAILABLE
            await caller.say_levels([3])
            all_of_it.service.drain(2.2)
            assert (await caller.rest()).ended.reason == gateway_pb2.Ended.REASON_SHUTDOWN
            assert (await chatter.end())[0] == 1001


async def test_a_gateway_that_is_gone_is_unavailable(name: str, tmp_path: Path) -> None:
    async with behind(name, tmp_path, Upstream(1, 1)) as seen:
        # Nothing is written: a refusal that crosses a message is "Internal error from Core" to gRPC's asyncio.
        errors = [await refused(seen) for _ in range(5)]
        assert {error.code() for error in errors} == {Code.UNAVAILABLE}, errors
        if name == "nginx":
            assert {error.details() for error in errors} == {"no gateway answers"}
        async with seen.session() as session, session.get(seen.url) as answer:
            assert answer.status in (502, 503)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with seen.chatting("?token=s3cret"):
                pass
        assert "s3cret" not in seen.proxy.written


async def test_a_gateway_that_is_killed_ends_its_calls_and_leaves_its_place_to_another(
    name: str, tmp_path: Path
) -> None:
    async with gateway_processes(tmp_path, 2) as gateways, behind(name, tmp_path, *upstreams_of(gateways)) as seen:
        caller = Caller(seen.stub)
        await caller.start()
        async with seen.chatting() as chatter:
            await chatter.ready()
            for gateway in gateways:
                gateway.kill()
            assert (await status_of(caller.call))[0] is KILLED_IN_A_CALL[name]
            with contextlib.suppress(ConnectionError):  # aiohttp wants to close it, too
                assert (await chatter.end())[0] == 1006
        gateways[1].start()
        await until_taken(seen)


async def until_taken(seen: Behind) -> None:
    """Returns once a call and a conversation are taken."""
    async with asyncio.timeout(PATIENCE_S):
        while not (await _is_taken(seen)):  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.2)


async def _is_taken(seen: Behind) -> bool:
    try:
        caller = Caller(seen.stub)
        await caller.start()
        await caller.hang_up()
        async with seen.chatting() as chatter:
            await chatter.ready()
    except (grpc.aio.AioRpcError, aiohttp.ClientError, EOFError):
        return False
    return True


async def test_a_reload_of_the_proxy_ends_no_call(name: str, tmp_path: Path) -> None:
    async with cluster_behind(name, tmp_path) as (all_of_it, seen):
        caller = Caller(seen.stub)
        await caller.start()
        await caller.say_levels([1, 2])
        await caller.answered(2)
        async with seen.chatting(STATS) as chatter:
            await chatter.ready()
            key = await chatter.until(METADATA, "resume")
            await chatter.say(2)
            await chatter.answered(2)
            await asyncio.to_thread(seen.proxy.reload)
            await caller.say_levels([3])
            levels = (await caller.hang_up()).levels
            assert [level for level in levels if level] == [1, 2, 3]  # silence stands in while it is reloaded
            if name == "caddy":  # 2.6 closes upgraded connections; the key is good for it
                assert (await chatter.end())[0] in (1001, 1006)
                async with seen.chatting(STATS, **coming_back(key)) as back:
                    await back.ready()
                    assert back.metadata["resumed"] is True
            else:
                await chatter.say(1)
                await chatter.answered(3)


async def test_the_page_and_its_calls_pass_and_their_tokens_stay_out_of_the_logs(name: str, tmp_path: Path) -> None:
    async with cluster_behind(name, tmp_path, web_dir="clients/web") as (_, seen):
        async with seen.session() as session, session.get(seen.url) as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
        origin = {"Origin": seen.url.rstrip("/")}
        async with seen.chatting("?token=s3cret", headers=origin | {"Authorization": "Bearer s3cret"}) as chatter:
            await chatter.ready()
            await chatter.say(2)
            await chatter.answered(2)
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            async with seen.chatting(headers={"Origin": "https://elsewhere.example"}):
                pass
        await eventually(lambda: "/api/chat" in seen.proxy.written)
        assert "s3cret" not in seen.proxy.written


async def test_clients_count_by_their_own_addresses_whatever_they_say(name: str, tmp_path: Path) -> None:
    spoofed = {"headers": {"X-Forwarded-For": "198.51.100.1"}}
    async with (
        cluster_behind(name, tmp_path, max_sessions_per_client=1) as (_, seen),
        seen.chatting(source=ELSEWHERE) as first,
        seen.chatting(source="127.0.0.8") as neighbour,
        seen.chatting(source=ELSEWHERE, **spoofed) as second,
    ):
        await first.ready()
        await neighbour.ready()
        assert await second.end() == (1013, "this client already holds all its calls")


async def test_callers_count_by_their_own_addresses_whatever_they_say(name: str, tmp_path: Path) -> None:
    """Where HAProxy passes bytes on they are one, as docs/proxies.md says."""
    async with (
        cluster_behind(name, tmp_path, max_sessions_per_client=1) as (_, seen),
        relayed_from(ELSEWHERE, seen.proxy.grpc_port) as port,
        channel_to(seen.proxy, port) as channel,
    ):
        await Caller(seen.stub).start()
        elsewhere = Behind(seen.proxy, channel)
        if name != "haproxy":
            await Caller(elsewhere.stub).start()
        error = await refused(elsewhere, START, metadata=(("x-forwarded-for", "198.51.100.1"),))
        assert error.details() == "this client already holds all its calls"


async def test_who_comes_back_finds_the_gateway_that_has_their_conversation(name: str, tmp_path: Path) -> None:
    """By the address that they come from, until conversations are kept where every gateway finds them."""
    async with (
        cluster(**SETTINGS) as one,
        cluster(**SETTINGS) as other,
        behind(name, tmp_path, upstream_of(one), upstream_of(other)) as seen,
    ):
        for number in range(4):
            source = f"127.0.0.{20 + number}"
            async with seen.chatting(STATS, source) as chatter:
                await chatter.ready()
                key = await chatter.until(METADATA, "resume")
                chatter.vanish()
            await one.until_free()
            await other.until_free()
            async with seen.chatting(STATS, source, **coming_back(key)) as back:
                await back.ready()
                assert back.metadata["resumed"] is True
