"""A conversation that one gateway lost goes on at another: once, whole, and for whom it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from moshi_cluster.services.common.secret_url import SecretUrl
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.gateway.store.session_store import SessionStore
from moshi_cluster.v1 import gateway_pb2
from tests.services.gateway.api.websocket.chatter import HTTP, METADATA, STATS, chatting, coming_back
from tests.services.gateway.cluster import EchoLm
from tests.services.gateway.store.gateways import Pair, pair, refusal_of
from tests.services.gateway.store.redis_server import KEY, OTHER_KEY, RedisServer
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

UNKNOWN = (grpc.StatusCode.NOT_FOUND, "CONVERSATION_UNKNOWN", False)
TAKEN = (grpc.StatusCode.NOT_FOUND, "CONVERSATION_TAKEN", False)
ENDED = (grpc.StatusCode.ABORTED, "CONVERSATION_TAKEN", False)


def records(redis: RedisServer) -> dict[bytes, dict[bytes, bytes]]:
    with Redis.from_url(redis.url) as client:
        return {name: client.hgetall(name) for name in client.scan_iter()}  # type: ignore[misc]


async def lost(both: Pair, frames: int = 5, bearer: str = "") -> str:
    """The resume token of a call of the first gateway whose connection is gone."""
    caller, token = await both.one.talking(frames, bearer)
    caller.call.cancel()
    await eventually(lambda: not both.lm.runner.specs)
    await both.one.settled()
    return token


async def test_a_lost_call_goes_on_at_another_gateway_with_all_of_its_history(
    redis: RedisServer, key_file: str
) -> None:
    async with pair(redis, key_file) as both:
        token = await lost(both)
        started = await both.other.resumes(token, resume_heard_frames=5)
        assert started.resumption == gateway_pb2.Resumption(remembered_frames=5, lost_frames=0)
        assert (started.seed, both.histories) == (7, [[0, 1, 2, 3, 4]])
        assert both.other.sample("moshi_gateway_resumptions_total", outcome="store") == 1
        assert await both.one.refuses(token) == TAKEN  # although it has it in its memory
        assert await both.other.refuses(token) == UNKNOWN


async def test_a_conversation_goes_on_and_on_from_one_gateway_to_the_next(redis: RedisServer, key_file: str) -> None:
    async with pair(redis, key_file) as both:
        token = await lost(both)
        for gateway, frames in ((both.other, 5), (both.one, 7), (both.other, 9)):
            caller = gateway.caller()
            started = await caller.start(resume_token=token)
            assert started.resumption.remembered_frames == frames
            await gateway.say(caller, 2)
            caller.call.cancel()
            await eventually(lambda: not both.lm.runner.specs)
            await gateway.settled()
            token = started.resume_token


async def test_a_gateway_whose_conversation_was_taken_while_it_was_halted_ends_its_call(
    redis: RedisServer, key_file: str
) -> None:
    async with pair(redis, key_file) as both:
        caller, token = await both.one.talking(5)
        await both.one.stored(5)
        started = await both.other.resumes(token)
        assert started.resumption.remembered_frames == 5
        assert await refusal_of(caller) == ENDED
        assert both.one.manager.conversations.lost_conversations == 0
        assert both.one.steps("taken") == 1
        assert await both.one.refuses(token) == UNKNOWN


async def test_what_was_said_since_the_last_write_is_lost_with_a_gateway_and_told(
    redis: RedisServer, key_file: str
) -> None:
    async with pair(redis, key_file) as both:
        caller, token = await both.one.talking(5)
        await both.one.stored(5)
        store = both.one.manager.conversations._store
        assert store is not None
        store._writer._entries.clear()  # as a gateway that dies: nothing is written any more
        await both.one.say(caller, 3)
        started = await both.other.resumes(token, resume_heard_frames=8)
        assert started.resumption == gateway_pb2.Resumption(remembered_frames=5, lost_frames=3)


async def test_a_call_that_ends_well_leaves_nothing(redis: RedisServer, key_file: str) -> None:
    async with pair(redis, key_file) as both:
        caller, token = await both.one.talking(5)
        await both.one.stored(5)
        (record,) = records(redis).values()
        assert set(record) == {b"owner", b"state", b"frames", b"head", *(name for name in record if name.isdigit())}
        await caller.hang_up()
        await eventually(lambda: not records(redis))
        assert await both.other.refuses(token) == UNKNOWN


async def test_of_two_who_come_back_at_both_gateways_at_once_one_goes_on(redis: RedisServer, key_file: str) -> None:
    async with pair(redis, key_file) as both:
        token = await lost(both)
        callers = [gateway.caller() for gateway in (both.one, both.other) for _ in range(3)]
        await asyncio.gather(*(caller.send_start(resume_token=token) for caller in callers))
        firsts = await asyncio.gather(*(caller.next() for caller in callers), return_exceptions=True)
        going_on = [first for first in firsts if isinstance(first, gateway_pb2.ConverseResponse)]
        assert len(going_on) == 1
        assert going_on[0].started.resumption.remembered_frames == 5


async def test_a_call_that_a_gateways_stop_has_cut_goes_on_at_another(redis: RedisServer, key_file: str) -> None:
    async with pair(redis, key_file) as both:
        caller, token = await both.one.talking(5)
        both.one.manager.drain(0.0)
        assert (await caller.rest()).ended.reason == gateway_pb2.Ended.REASON_SHUTDOWN
        await both.one.manager.conversations.stop()
        assert (await both.other.resumes(token)).resumption.remembered_frames == 5


async def test_a_page_goes_on_at_another_gateway(redis: RedisServer, key_file: str) -> None:
    async with pair(redis, key_file, **HTTP) as both:
        async with chatting(both.one, STATS + "&text_seed=3&audio_seed=4") as chatter:  # type: ignore[arg-type]
            await chatter.ready()
            key = await chatter.until(METADATA, "resume")
            await chatter.say(3)
            await chatter.answered(3)
            chatter.vanish()
        await eventually(lambda: not both.lm.runner.specs)
        await both.one.settled()
        async with chatting(both.other, STATS, **coming_back(key)) as back:  # type: ignore[arg-type]
            await back.ready()
            told = [back.metadata[name] for name in ("resumed", "remembered_frames", "text_seed", "audio_seed")]
            assert told == [True, 3, 3, 4]


async def test_a_token_is_worth_nothing_elsewhere_without_the_bearer_token_that_began_the_call(
    redis: RedisServer, key_file: str, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text("first\nsecond\n")
    async with pair(redis, key_file, token_file=str(tmp_path / "tokens")) as both:
        caller, token = await both.one.talking(5, "first")
        await both.one.stored(5)
        assert await both.other.refuses(token, "second") == UNKNOWN
        await both.one.say(caller, 1)  # it was not disturbed
        assert (await both.other.resumes(token, "first")).resumption.remembered_frames >= 5


async def test_while_no_worker_has_the_model_the_conversation_waits_for_one(redis: RedisServer, key_file: str) -> None:
    async with pair(redis, key_file) as both:
        token = await lost(both)
        both.other.manager.conversations._can_go_on = lambda checkpoint: False
        assert await both.other.refuses(token) == (grpc.StatusCode.NOT_FOUND, "MODEL_GONE", False)
        await both.other.settled()
        assert (await both.one.resumes(token)).resumption.remembered_frames == 5


async def test_an_attempt_that_found_no_slot_gives_the_conversation_back(redis: RedisServer, key_file: str) -> None:
    async with pair(redis, key_file, {"max_sessions": 1, "retry_after_ms": 1}) as both:
        token = await lost(both)
        await both.other.caller().start()
        assert (await both.other.refuses(token))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        await both.other.settled()
        assert (await both.one.resumes(token)).resumption.remembered_frames == 5


def _tampered(record: bytes) -> bytes:
    return record[:-1] + bytes([record[-1] ^ 1])


@pytest.mark.parametrize("field", [b"head", b"0"])
async def test_a_record_that_was_tampered_with_is_not_gone_on_with(
    redis: RedisServer, key_file: str, field: bytes
) -> None:
    async with pair(redis, key_file) as both:
        token = await lost(both)
        ((name, record),) = records(redis).items()
        with Redis.from_url(redis.url) as client:
            client.hset(name, field, _tampered(record[field]))  # type: ignore[arg-type]
        assert await both.other.refuses(token) == UNKNOWN
        assert both.other.steps("damaged") == 1


@pytest.mark.parametrize(("keys", "is_read"), [((OTHER_KEY,), False), ((OTHER_KEY, KEY), True)])
async def test_a_record_is_read_with_any_of_the_keys(
    redis: RedisServer, key_file: str, tmp_path: Path, keys: tuple[str, ...], is_read: bool
) -> None:
    (tmp_path / "others").write_text("\n".join(keys))
    async with pair(redis, key_file, {"session_store_key_file": str(tmp_path / "others")}) as both:
        token = await lost(both)
        if is_read:
            assert (await both.other.resumes(token)).resumption.remembered_frames == 5
        else:
            assert await both.other.refuses(token) == UNKNOWN
            assert both.other.steps("damaged") == 1


async def test_only_what_the_model_looks_back_on_is_stored(redis: RedisServer, key_file: str) -> None:
    async with pair(redis, key_file, lm=EchoLm(context=4)) as both:
        caller, token = await both.one.talking(1)
        for frames in range(2, 12):
            await both.one.stored(frames - 1)
            await both.one.say(caller, 1)
        caller.call.cancel()
        await eventually(lambda: not both.lm.runner.specs)
        await both.one.settled()
        (record,) = records(redis).values()
        assert {name for name in record if name.isdigit()} == {b"7", b"8", b"9", b"10"}
        assert (await both.other.resumes(token)).resumption.remembered_frames == 11
        assert both.histories == [[7, 8, 9, 10]]


@pytest.mark.parametrize("url", ["redis://:secret@host:port", "redis://:secret@host:6379/1?socket_timeout=secret"])
async def test_an_address_that_is_none_ends_the_start(url: str, key_file: str) -> None:
    chosen = GatewaySettings(session_store=SecretUrl(url), session_store_key_file=key_file)
    with pytest.raises(SettingError, match="^MOSHI_GATEWAY_SESSION_STORE: expected") as error:
        SessionStore(chosen, GatewayMetrics(CollectorRegistry()))
    assert "secret" not in str(error.value)
