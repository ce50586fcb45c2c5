"""Clients of /api/chat in front of a full cluster."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from tests.services.gateway.api.websocket.chatter import HTTP, LOOPBACK, METADATA, STATS, chatting
from tests.services.gateway.caller import Caller
from tests.services.gateway.cluster import EchoCodec, EchoLm, cluster
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

FULL = {
    "codec": {"codecs": [lambda: EchoCodec(1)]},
    "lm": {"lms": [lambda: EchoLm(1)]},
    "gateway": {"max_sessions": 1},
}


@pytest.mark.parametrize("what_is_full", FULL)
async def test_who_finds_no_slot_waits_with_their_position_and_gets_the_next_one(what_is_full: str) -> None:
    full: dict[str, Any] = FULL[what_is_full]
    workers = {name: [make() for make in made] for name, made in full.items() if name != "max_sessions"}
    settings = {name: value for name, value in full.items() if name == "max_sessions"}
    async with (
        cluster(**workers, **settings, **HTTP) as all_of_it,
        chatting(all_of_it, STATS) as first,
    ):
        await first.ready()
        async with chatting(all_of_it, STATS) as second:
            assert await second.until(METADATA, "queue") == {"position": 1, "waiting": 1}
            async with chatting(all_of_it, STATS) as third:
                assert await third.until(METADATA, "queue") == {"position": 2, "waiting": 2}
                assert all_of_it.sample("moshi_gateway_waiting") == 2
                await first.socket.close()
                await second.ready()
                assert second.metadata["queue"] == {"position": 0, "waiting": 1}
                assert await third.until(METADATA, "queue") == {"position": 1, "waiting": 1}
                await second.say(2)
                await second.answered(2)
                second.vanish()
                await third.ready()
                await third.say(2)
                await third.answered(2)
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_waiting") == 0


async def test_a_phone_call_finds_no_slot_while_clients_wait_and_takes_none_from_them() -> None:
    async with cluster(lms=[EchoLm(1)], **HTTP) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        async with chatting(all_of_it, STATS) as waiting:
            assert await waiting.until(METADATA, "queue") == {"position": 1, "waiting": 1}
            second = Caller(all_of_it.stub)
            await second.send_start()
            assert (await second.status())[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
            await caller.hang_up()
            await waiting.ready()
            third = Caller(all_of_it.stub)
            await third.send_start()
            assert (await third.status())[0] == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_closing_gives_up_the_position() -> None:
    async with cluster(lms=[EchoLm(1)], **HTTP) as all_of_it, chatting(all_of_it, STATS) as first:
        await first.ready()
        async with chatting(all_of_it, STATS) as second:
            await second.until(METADATA, "queue")
            async with chatting(all_of_it, STATS) as third:
                assert await third.until(METADATA, "queue") == {"position": 2, "waiting": 2}
                await second.socket.close()
                assert await third.until(METADATA, "queue") == {"position": 1, "waiting": 1}
        await eventually(lambda: all_of_it.sample("moshi_gateway_sessions_total", outcome="CANCELLED") == 2)


async def test_beyond_the_queue_a_client_is_turned_away_with_1013() -> None:
    async with cluster(lms=[EchoLm(1)], queue_clients=1, **HTTP) as all_of_it, chatting(all_of_it, STATS) as first:
        await first.ready()
        async with chatting(all_of_it, STATS) as second:
            await second.until(METADATA, "queue")
            async with chatting(all_of_it, STATS) as third:
                assert await third.end() == (1013, "every slot is in use, and too many wait")


async def test_nobody_waits_for_long_when_the_workers_are_gone() -> None:
    codec = EchoCodec()
    async with (
        cluster([codec], [EchoLm(1)], open_timeout_s=3.0, **HTTP) as all_of_it,
        chatting(all_of_it, STATS) as first,
    ):
        await first.ready()
        async with chatting(all_of_it, STATS) as waiting:
            await waiting.until(METADATA, "queue")
            codec.drain(60.0)
            assert await waiting.end() == (1011, "no codec worker is within reach")


async def test_a_drain_sends_the_queue_elsewhere() -> None:
    async with cluster(lms=[EchoLm(1)], **HTTP) as all_of_it, chatting(all_of_it, STATS) as first:
        await first.ready()
        async with chatting(all_of_it, STATS) as second:
            await second.until(METADATA, "queue")
            all_of_it.service.drain(60.0)
            assert await second.end() == (1001, "the gateway is draining")


async def test_a_line_test_waits_for_no_worker() -> None:
    async with cluster(lms=[EchoLm(1)], **HTTP) as all_of_it, chatting(all_of_it, STATS) as first:
        await first.ready()
        async with chatting(all_of_it, LOOPBACK) as loopback:
            await loopback.ready()
            await loopback.say(1)
            await loopback.answered(1)
