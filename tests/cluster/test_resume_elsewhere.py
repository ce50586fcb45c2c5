"""A gateway is killed in the middle of a call, which goes on at another one as if nothing had been."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from redis import Redis

from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.services.gateway.store.sealing import name_of
from tests.cluster.conftest import PATIENT
from tests.cluster.stored_conversations import SAMPLING, Talker, answers, stored
from tests.services.gateway.store.redis_server import KEY, RedisServer, redis_server

pytestmark = pytest.mark.cluster

MOST_LOST_FRAMES = 25  # a write a second, and what a busy machine is late


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server(password="secret-word") as running:
        yield running


@pytest.fixture(scope="module")
def shared(checkpoint: Path, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Two gateways that share a store."""
    keys = tmp_path_factory.mktemp("store") / "keys"
    keys.write_text(KEY)
    store = {"MOSHI_GATEWAY_SESSION_STORE": redis.url, "MOSHI_GATEWAY_SESSION_STORE_KEY_FILE": str(keys)}
    with LocalCluster(Layout(str(checkpoint), slots=4, gateways=2), PATIENT | store) as running:
        yield running


async def test_after_kill_9_a_call_goes_on_at_another_gateway_with_the_tokens_of_an_undisturbed_session(
    shared: LocalCluster, redis: RedisServer
) -> None:
    async with (
        grpc.aio.insecure_channel(shared.address("gateway-0")) as first,
        grpc.aio.insecure_channel(shared.address("gateway-1")) as second,
    ):
        caller = Talker(first)
        await caller.begin()
        await caller.talk(40)
        await stored(redis, caller.started.resume_token, 40 - MOST_LOST_FRAMES)
        shared.kill("gateway-0")
        with pytest.raises(grpc.aio.AioRpcError):
            await caller.talk(1)
        back = Talker(second)
        heard = {"resume_token": caller.started.resume_token, "resume_heard_frames": caller.heard_frames}
        await back.begin(**heard)
        remembered = back.started.resumption.remembered_frames
        assert back.started.resumption.lost_frames == max(0, 40 - remembered)
        assert remembered >= 40 - MOST_LOST_FRAMES
        assert back.started.seed == SAMPLING.seed
        await back.talk(25, offset_s=2.0)
        frames = await stored(redis, back.started.resume_token, remembered + 25)
        back.call.cancel()
    history, said = frames[:remembered], frames[remembered : remembered + 25]
    expected = [(frame.text_token, *frame.moshi_codes) for frame in said]
    assert await answers(shared.address("lm-0"), history, said) == expected
    log = "\n".join(shared.process("gateway-1").log_lines())
    assert "secret-word" not in log
    assert caller.started.resume_token not in log


async def test_a_gateway_that_was_halted_while_its_call_went_on_elsewhere_ends_it_and_writes_nothing(
    shared: LocalCluster, redis: RedisServer
) -> None:
    if not shared.running("gateway-0"):
        shared.start("gateway-0")
        shared.wait_until_serving()
    async with (
        grpc.aio.insecure_channel(shared.address("gateway-0")) as first,
        grpc.aio.insecure_channel(shared.address("gateway-1")) as second,
    ):
        caller, back = Talker(first), Talker(second)
        await caller.begin()
        await caller.talk(30)
        shared.signal("gateway-0", signal.SIGSTOP)
        try:
            await back.begin(resume_token=caller.started.resume_token, resume_heard_frames=30)
            await back.talk(15)
        finally:
            shared.signal("gateway-0", signal.SIGCONT)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await caller.until_over()
        assert error.value.code() is grpc.StatusCode.ABORTED
        with Redis.from_url(redis.url) as client:
            record = client.hgetall(f"moshi-cluster:conversation:{name_of(caller.started.resume_token)}")
        assert record == {b"owner": b"-", b"state": b"gone"}
        await back.talk(5)
        await back.call.done_writing()
