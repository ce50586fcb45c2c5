"""How a connection to /api/chat ends: its close code, the sentence before it, and that nothing is left behind."""

from __future__ import annotations

import asyncio
from itertools import count

import aiohttp
import pytest

from tests.services.gateway.api.websocket.chatter import HTTP, METADATA, STATS, Chatter, chatting, said, voice
from tests.services.gateway.caller import Caller
from tests.services.gateway.cluster import EchoCodec, EchoLm, cluster
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")


async def test_a_client_that_closes_frees_its_slots() -> None:
    async with cluster(**HTTP) as all_of_it:
        async with chatting(all_of_it) as chatter:
            await chatter.ready()
            await chatter.say(3)
        await all_of_it.until_free()
        await eventually(lambda: all_of_it.sample("moshi_gateway_sessions_total", outcome="ok") == 1)


async def test_a_client_that_vanishes_frees_its_slots() -> None:
    codec = EchoCodec()
    async with cluster([codec], **HTTP) as all_of_it, chatting(all_of_it) as chatter:
        await chatter.ready()
        codec.decoder.hold()
        await chatter.say(6)
        await codec.decoder.step_entered()
        chatter.vanish()
        codec.decoder.let_all()
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="CANCELLED") == 1


REFUSED = {
    "text_temperature=3": "text_temperature: must be 0 to 2",
    "text_topk=0": "text_topk: must be a whole number from 1 to 2048",
    "repetition_penalty=1.5": "repetition_penalty_context: required beside repetition_penalty",
}


@pytest.mark.parametrize(("query", "problem"), REFUSED.items(), ids=REFUSED)
async def test_a_parameter_out_of_range_closes_with_1008_and_its_name(query: str, problem: str) -> None:
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it, f"?{query}") as chatter:
        assert await chatter.end() == (1008, problem)
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="INVALID_ARGUMENT") == 1


async def test_a_limit_ends_a_conversation_as_it_should_and_says_which() -> None:
    async with cluster(idle_timeout_s=0.2, **HTTP) as all_of_it, chatting(all_of_it) as chatter:
        await chatter.ready()
        assert await chatter.end() == (1000, "the caller sent nothing")


async def test_a_flood_of_messages_is_ended() -> None:
    async with cluster(max_messages_per_s=1.0, **HTTP) as all_of_it, chatting(all_of_it) as chatter:
        await chatter.ready()
        await chatter.send(*[b"\7"] * 30)
        assert await chatter.end() == (1013, "more messages than one call may send")


async def test_packets_in_one_message_count_as_messages() -> None:
    async with cluster(max_messages_per_s=1.0, **HTTP) as all_of_it, chatting(all_of_it) as chatter:
        await chatter.ready()
        await chatter.send(said(b"".join(voice(15))))
        assert (await chatter.end())[0] == 1013


async def test_a_message_too_long_closes_with_1009_and_disturbs_nobody() -> None:
    async with cluster(max_message_bytes=2000, **HTTP) as all_of_it, chatting(all_of_it) as neighbour:
        await neighbour.ready()
        async with chatting(all_of_it) as chatter:
            await chatter.ready()
            await chatter.send(bytes(5000))
            assert (await chatter.end())[0] == 1009
        await neighbour.say(2)
        await neighbour.answered(2)
        await neighbour.socket.close()
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="INVALID_ARGUMENT") == 1


async def test_a_lost_worker_closes_with_1011() -> None:
    codec = EchoCodec()
    async with cluster([codec], **HTTP) as all_of_it, chatting(all_of_it) as chatter:
        await chatter.ready()
        codec.decoder.failure = RuntimeError("the device is gone")
        await chatter.say(1)
        code, error = await chatter.end()
        assert code == 1011
        assert error.startswith(("decode: ", "encode: "))


async def test_without_workers_a_client_waits_a_little_and_is_told() -> None:
    lm = EchoLm()
    async with cluster(lms=[lm], open_timeout_s=0.2, **HTTP) as all_of_it:
        lm.drain(60.0)
        await eventually(lambda: all_of_it.sample("moshi_gateway_workers", service="lm") == 0)
        async with chatting(all_of_it) as chatter:
            assert await chatter.end() == (1011, "no lm worker is within reach")


async def test_a_fault_of_our_own_is_logged_and_told_without_its_details(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(**HTTP) as all_of_it:
        monkeypatch.setattr("moshi_cluster.services.gateway.api.websocket.metadata.in_use", lambda *_: 1 / 0)
        async with chatting(all_of_it) as chatter:
            assert await chatter.end() == (1011, "the server failed")
        await all_of_it.until_free()
    assert "ZeroDivisionError" in caplog.text


async def test_a_drain_is_told_and_closes_with_1001_when_time_is_up() -> None:
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it, STATS) as chatter:
        await chatter.ready()
        await chatter.say(1)
        await chatter.answered(1)
        all_of_it.service.drain(62.0)
        event = await chatter.until(METADATA, "event")
        assert (event["kind"], event["detail"]) == ("go_away", "the gateway stops: the call ends in 60 s")
        async with chatting(all_of_it) as late:
            assert await late.end() == (1001, "the gateway is draining")
        await chatter.say(1)
        await chatter.answered(2)
        all_of_it.service.drain(2.2)
        assert await chatter.end() == (1001, "")
        await all_of_it.service.until_idle()


async def test_a_stop_ends_what_is_left() -> None:
    async with aiohttp.ClientSession() as session:
        async with cluster(**HTTP) as all_of_it:
            url = f"http://127.0.0.1:{all_of_it.service.http_port}/api/chat"
            chatter = Chatter(await session.ws_connect(url))
            await chatter.ready()
            ending = asyncio.create_task(chatter.end())
        assert (await ending)[0] == 1001


async def test_clients_and_callers_share_slots_and_quotas() -> None:
    async with cluster(max_sessions_per_client=2, **HTTP) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        async with chatting(all_of_it) as chatter, chatting(all_of_it) as one_too_many:
            await chatter.ready()
            assert all_of_it.sample("moshi_gateway_calls_active") == 2
            assert await one_too_many.end() == (1013, "this client already holds all its calls")
            await asyncio.gather(caller.say_levels([1, 2]), chatter.say(2))
            await chatter.answered(2)
            assert (await caller.hang_up()).levels == [1, 2]


async def test_replies_to_a_client_that_does_not_read_are_dropped_and_little_is_kept_for_him() -> None:
    """By hand: every WebSocket library reads by itself."""
    async with cluster(**HTTP | {"reply_backlog_ms": 1000}) as all_of_it:
        reader, writer = await asyncio.open_connection("127.0.0.1", all_of_it.service.http_port, limit=1024)
        request = "GET /api/chat?loopback=true HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write((request + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + "A" * 22 + "==\r\n\r\n").encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        dropped = "moshi_gateway_frames_total"
        for number, page in zip(count(), voice(4000), strict=False):
            masked = bytes([0x82, 0xFE]) + len(said(page)).to_bytes(2, "big") + bytes(4) + said(page)
            writer.write(masked)
            await writer.drain()
            if number % 25 == 0:
                await asyncio.sleep(0)
            if all_of_it.sample(dropped, kind="reply_dropped"):
                break
        await eventually(lambda: all_of_it.sample(dropped, kind="reply_dropped") > 0)
        writer.transport.abort()
        await all_of_it.until_free()
