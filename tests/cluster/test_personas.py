"""Personas through the real processes: beside each other, with an lm killed in the middle, and resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from moshi_cluster.clients.cli.converse import CallScript, Listener, converse
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.v1 import common_pb2
from tests.cluster.callers import FRAME_S, Line, capacity, speech, start, until
from tests.cluster.conftest import PATIENT
from tests.cluster.stored_conversations import Talker, answers, stored
from tests.services.gateway.store.redis_server import KEY, RedisServer, redis_server
from tests.services.persona_worker import PERSONAS, persona_folder

pytestmark = pytest.mark.cluster

LINE = Line("s16le", 24_000)
FRAMES = 20  # with the prompt less than the tiny model looks back
FAST_S = 0.001  # a packet: the gateway answers what has come as fast as it can
MOVES = {"MOSHI_GATEWAY_MOVE_TIMEOUT_S": "30"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return persona_folder(tmp_path_factory.mktemp("personaplex"))


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture(scope="module")
def store(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    keys = tmp_path_factory.mktemp("store") / "keys"
    keys.write_text(KEY)
    return {"MOSHI_GATEWAY_SESSION_STORE": redis.url, "MOSHI_GATEWAY_SESSION_STORE_KEY_FILE": str(keys)}


@pytest.fixture(scope="module")
def personas(folder: Path, store: dict[str, str]) -> Iterator[LocalCluster]:
    """A gateway, a codec and two lms with the tiny PersonaPlex."""
    with LocalCluster(Layout(str(folder), lm_workers=2, slots=8), PATIENT | MOVES | store) as running:
        yield running


async def said(cluster: LocalCluster, persona: common_pb2.Persona, offset_s: float = 0.0) -> tuple[bytes, str]:
    """Sound and words of a whole call, which follow from its tokens alone."""
    packets = speech(LINE, FRAMES * FRAME_S, offset_s)
    result = await converse(cluster.address(), CallScript(start(LINE, persona=persona), packets, FAST_S), Listener())
    assert result.ended is not None and result.ended.counters.frames_out == FRAMES
    return bytes(result.audio), result.text


async def lm_in_use(cluster: LocalCluster) -> str:
    """The only one that has sessions, once no other has any more."""
    used: list[str] = []

    async def is_one() -> bool:
        used.clear()
        for name in ("lm-0", "lm-1"):
            async with grpc.aio.insecure_channel(cluster.address(name)) as channel:
                used.extend([name] * bool((await capacity(channel)).slots_used))
        return len(used) == 1

    await until(is_one)
    return used[0]


async def test_eight_calls_with_four_personas_each_say_what_they_say_alone(personas: LocalCluster) -> None:
    calls = [(PERSONAS[index % 4], 0.4 * index) for index in range(8)]
    alone = [await said(personas, *each) for each in calls]
    assert len(set(alone)) == 8
    assert await asyncio.gather(*(said(personas, *each) for each in calls)) == alone


async def test_a_resumed_call_goes_on_with_its_persona(personas: LocalCluster, redis: RedisServer) -> None:
    async with grpc.aio.insecure_channel(personas.address()) as channel:
        caller = Talker(channel)
        await caller.begin(persona=PERSONAS[2])
        await caller.talk(12)
        caller.call.cancel()
        back = Talker(channel)
        await back.begin(resume_token=caller.started.resume_token, resume_heard_frames=caller.heard_frames)
        assert back.started.resumption.remembered_frames == 12
        await back.talk(8, offset_s=2.0)
        frames = await stored(redis, back.started.resume_token, 20)
        back.call.cancel()
    expected = [(frame.text_token, *frame.moshi_codes) for frame in frames[12:]]
    for name in ("lm-0", "lm-1"):
        assert await answers(personas.address(name), frames[:12], frames[12:], PERSONAS[2]) == expected
    assert await answers(personas.address("lm-0"), frames[:12], frames[12:]) != expected


async def test_a_call_with_a_persona_outlives_its_lm_and_says_what_it_would_have_said(personas: LocalCluster) -> None:
    async with grpc.aio.insecure_channel(personas.address()) as channel:
        undisturbed, disturbed = Talker(channel), Talker(channel)
        for caller in (undisturbed, disturbed):
            await caller.begin(persona=PERSONAS[0])
            await caller.talk(FRAMES // 2)
            lm = await lm_in_use(personas)
            rest = asyncio.create_task(caller.talk(FRAMES // 2, offset_s=2.0))
            if caller is disturbed:
                await asyncio.sleep(FRAMES / 4 * FRAME_S)
                personas.kill(lm)
            await rest
            await caller.call.done_writing()
            await caller.until_over()
    assert (undisturbed.moves, disturbed.moves) == (0, 1)
    assert (disturbed.words, disturbed.heard) == (undisturbed.words, undisturbed.heard)
