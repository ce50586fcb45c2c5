"""A session store that is away, halted, full or locked: calls go on, it is told once, and it heals."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import grpc
import pytest
import uvloop
from redis import Redis

from moshi_cluster.cluster.ports import LOOPBACK
from moshi_cluster.services.common.secret_url import SecretUrl
from moshi_cluster.services.gateway.api.tls import grpc_credentials
from moshi_cluster.services.gateway.store.redis_client import RedisClient, StoreAway
from tests.services.gateway.store.gateways import Gateway, pair
from tests.services.gateway.store.redis_server import RedisServer, redis_server
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", True)


async def until_up(gateway: Gateway, up: bool) -> None:
    await eventually(lambda: gateway.sample("moshi_gateway_store_up") == up)


def told(caplog: pytest.LogCaptureFixture, words: str) -> int:
    """How often each of the two gateways has said so, on average."""
    return sum(words in record.getMessage() for record in caplog.records)


async def test_a_store_that_is_away_at_the_start_gets_the_calls_once_it_is_there(
    redis: RedisServer, key_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    redis.stop()
    async with pair(redis, key_file) as both:
        caller, token = await both.one.talking(5)
        await eventually(lambda: both.one.steps("failed") >= 1)
        assert await both.other.refuses(token) == NO_ANSWER
        assert await both.other.refuses("unknown") == NO_ANSWER
        redis.start()
        await both.one.stored(5)
        await until_up(both.one, True)
        assert (await both.other.resumes(token)).resumption.remembered_frames == 5
        assert told(caplog, "the session store is away: ConnectionError") == 1
        assert told(caplog, "the session store is back") == 1
        caller.call.cancel()


async def test_a_store_that_lost_everything_gets_it_all_again(redis: RedisServer, key_file: str) -> None:
    async with pair(redis, key_file) as both:
        caller, token = await both.one.talking(5)
        await both.one.stored(5)
        redis.stop()
        await both.one.say(caller, 4)
        redis.start()
        await both.one.stored(9)
        assert both.one.steps("missing") >= 1
        assert (await both.other.resumes(token)).resumption.remembered_frames == 9
        assert both.histories[-1] == list(range(9))


async def test_a_store_that_lost_everything_gets_lost_conversations_again(redis: RedisServer, key_file: str) -> None:
    async with pair(redis, key_file) as both:
        caller, token = await both.one.talking(5)
        caller.call.cancel()
        await eventually(lambda: both.one.manager.conversations.lost_conversations == 1)
        await both.one.settled()
        live, _ = await both.one.talking(1)
        redis.stop()
        await until_up(both.one, False)
        redis.start()
        await until_up(both.one, True)
        await both.one.settled()
        assert (await both.other.resumes(token)).resumption.remembered_frames == 5
        await live.hang_up()


async def test_a_call_that_is_lost_while_the_store_is_away_is_resumed_here_at_once_and_elsewhere_afterwards(
    redis: RedisServer, key_file: str
) -> None:
    async with pair(redis, key_file) as both:
        here, token_here = await both.one.talking(5)
        elsewhere, token_elsewhere = await both.one.talking(6)
        redis.stop()
        await both.one.say(here, 1)
        for caller in (here, elsewhere):
            caller.call.cancel()
        await eventually(lambda: both.one.manager.conversations.lost_conversations == 2)
        await until_up(both.one, False)
        assert (await both.one.resumes(token_here)).resumption.remembered_frames == 6
        redis.start()
        await both.one.settled()
        assert (await both.other.resumes(token_elsewhere)).resumption.remembered_frames == 6


async def test_a_store_that_stands_still_delays_nobody(
    redis: RedisServer, key_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with pair(redis, key_file) as both:
        caller, _ = await both.one.talking(5)
        await both.one.stored(5)
        redis.halt()
        try:
            await until_up(both.one, False)
            failed, turns = both.one.steps("failed"), 0
            while turns <= 50 or both.one.steps("failed") == failed:  # the store's deadlines pass meanwhile
                await both.one.say(caller, 1)
                turns += 1
            assert both.one.steps("failed") - failed < turns / 5, "a turn that waits for the store takes a deadline"
            assert (await both.one.caller().start()).resume_token
        finally:
            redis.go_on()
        await until_up(both.one, True)
        assert told(caplog, "the session store is away: TimeoutError") <= 2
        await caller.hang_up()


async def test_a_full_store_disturbs_no_call_and_is_told(key_file: str, caplog: pytest.LogCaptureFixture) -> None:
    with redis_server("--maxmemory", "1", "--maxmemory-policy", "noeviction") as redis:
        async with pair(redis, key_file) as both:
            caller, _ = await both.one.talking(5)
            await eventually(lambda: both.one.steps("failed") >= 1)
            await both.one.say(caller, 3)
            assert told(caplog, "the session store is away: OutOfMemoryError") == 1
            with Redis.from_url(redis.url) as client:
                client.config_set("maxmemory", "100mb")
            await both.one.stored(8)
            await until_up(both.one, True)
            await caller.hang_up()


async def test_a_wrong_password_is_told_and_shown_to_nobody(
    redis: RedisServer, key_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = SecretUrl(redis.url.replace("secret-word", "wrong-word"))
    async with pair(redis, key_file, session_store=wrong) as both:
        caller, token = await both.one.talking(3)
        await eventually(lambda: both.one.steps("failed") >= 1)
        assert await both.other.refuses(token) == NO_ANSWER
        await caller.hang_up()
    assert told(caplog, "the session store is away: AuthenticationError") == 1
    assert "-word" not in caplog.text
    assert "-word" not in repr(wrong)
    assert token not in caplog.text


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_over_tls_only_a_store_that_is_vouched_for_gets_anything(
    key_file: str, tmp_path: Path, is_trusted: bool
) -> None:
    grpc_credentials(tmp_path, self_signed=True)
    pair_of_files = ("--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem"))
    options = (*pair_of_files, "--tls-ca-cert-file", str(tmp_path / "cert.pem"), "--tls-auth-clients", "no")
    query = f"?ssl_ca_certs={tmp_path / 'cert.pem'}" if is_trusted else ""
    with redis_server(*options, scheme="rediss", query=query, password="p") as redis:
        async with pair(redis, key_file) as both:
            caller, token = await both.one.talking(5)
            if is_trusted:
                await both.one.stored(5)
                assert (await both.other.resumes(token)).resumption.remembered_frames == 5
            else:
                await eventually(lambda: both.one.steps("failed") >= 1)
                assert not both.one.steps("done")
                await caller.hang_up()


async def test_records_of_calls_that_are_over_are_bounded_while_the_store_is_away(
    redis: RedisServer, key_file: str
) -> None:
    redis.stop()
    async with pair(redis, key_file, max_sessions=2, resume_keep_s=3600.0) as both:
        for _ in range(7):
            caller, _ = await both.one.talking(1)
            caller.call.cancel()
            await eventually(lambda: not both.lm.runner.specs)
        store = both.one.manager.conversations._store
        assert store is not None
        assert len(store._writer._entries) == 4
        assert both.one.steps("dropped") == 3


async def test_a_gateway_that_is_to_stop_waits_for_the_store_with_what_its_calls_leave(
    redis: RedisServer, key_file: str
) -> None:
    async with pair(redis, key_file) as both:
        caller, token = await both.one.talking(5)
        redis.stop()
        await until_up(both.one, False)
        both.one.manager.drain(30.0)
        caller.call.cancel()
        await eventually(lambda: both.one.manager.live_sessions == 0)
        idle, tried = asyncio.create_task(both.one.manager.until_idle()), both.one.steps("failed")
        await eventually(lambda: both.one.steps("failed") > tried + 1)
        assert not idle.done()
        redis.start()
        await idle
        assert (await both.other.resumes(token)).resumption.remembered_frames == 5


def test_a_server_that_hangs_up_at_once_is_a_store_that_is_away() -> None:
    """The services' loop has an error of its own for connections that were just closed."""
    uvloop.run(ask_who_hangs_up())


async def ask_who_hangs_up() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, LOOPBACK) as server:
        client = RedisClient(SecretUrl(f"redis://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/0"), timeout_s=30)
        asked = [client.head("unknown") for _ in range(40)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        await client.close()
    assert {type(answer) for answer in answers} == {StoreAway}
