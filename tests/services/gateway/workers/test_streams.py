"""Slots on three hops: all of them or none, whatever happens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from moshi_cluster.services.common import rpc
from moshi_cluster.services.common.errors import NoFreeSlot, SessionError, Unavailable
from moshi_cluster.services.gateway.workers import streams as hops_module
from moshi_cluster.services.gateway.workers.pool import WorkerPool
from moshi_cluster.services.gateway.workers.streams import (
    CallStreams,
    WorkerStream,
    codes_message,
    pcm_message,
    user_message,
)
from moshi_cluster.v1 import codec_pb2, common_pb2, lm_pb2
from tests.services.fake_workers import FRAME_SAMPLES
from tests.services.gateway.cluster import Cluster, EchoCodec, EchoLm, cluster
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

SAMPLING = common_pb2.Sampling(seed=1)


def pools(all_of_it: Cluster) -> tuple[WorkerPool, WorkerPool]:
    return all_of_it.service._manager._codec, all_of_it.service._manager._lm


class SilentLm(EchoLm):
    """Takes the stream and says nothing until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()
        self.left = asyncio.Event()
        self.go_on = asyncio.Event()

    async def Generate(self, request_iterator: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> None:
        self.entered.set()
        try:
            await self.go_on.wait()
            await super().Generate(request_iterator, context)
        finally:
            self.left.set()


async def test_three_slots_are_held_and_frames_pass() -> None:
    async with cluster() as all_of_it:
        codec, lm = all_of_it.workers
        hops = await CallStreams.open(*pools(all_of_it), SAMPLING)
        assert (codec.live_sessions, lm.live_sessions) == (2, 1)
        for index in range(3):
            await hops.encode.write(pcm_message(hops.encode, bytes(4 * FRAME_SAMPLES)))
            codes = await hops.encode.read()
            await hops.lm.write(user_message(hops.lm, codes.codes))
            reply = await hops.lm.read()
            await hops.decode.write(codes_message(hops.decode, reply.frame.moshi_codes))
            pcm = await hops.decode.read()
            assert codes.frame_index == reply.frame.frame_index == pcm.frame_index == index
        for hop in (hops.encode, hops.lm, hops.decode):
            hop.done_writing()
            assert await hop.read() is None
        await all_of_it.until_free()


async def test_cancel_gives_every_slot_back() -> None:
    async with cluster() as all_of_it:
        hops = await CallStreams.open(*pools(all_of_it), SAMPLING)
        hops.cancel()
        await all_of_it.until_free()


@pytest.mark.parametrize(
    ("workers", "refusal"),
    [
        ({"lms": [EchoLm]}, "every lm slot is in use|all 1 lm slots are in use"),
        ({"codecs": [EchoCodec]}, "every codec slot is in use|all 1 (en|de)code slots are in use"),
    ],
)
async def test_when_one_hop_is_refused_the_others_slots_are_given_back(
    workers: dict[str, list[Any]], refusal: str
) -> None:
    full = {name: [make(1) for make in makes] for name, makes in workers.items()}
    async with cluster(**full) as all_of_it:
        held = await CallStreams.open(*pools(all_of_it), SAMPLING)
        with pytest.raises(NoFreeSlot, match=refusal):
            await CallStreams.open(*pools(all_of_it), SAMPLING)
        await eventually(lambda: sum(worker.live_sessions for worker in all_of_it.workers) == 3)
        held.cancel()
        await all_of_it.until_free()


async def test_an_opening_that_is_cancelled_gives_back_what_it_had() -> None:
    silent = SilentLm()
    async with cluster(lms=[silent]) as all_of_it:
        opening = asyncio.create_task(CallStreams.open(*pools(all_of_it), SAMPLING))
        await silent.entered.wait()
        await eventually(lambda: all_of_it.workers[0].live_sessions == 2)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await silent.left.wait()
        await all_of_it.until_free()


async def test_an_opening_that_is_cancelled_twice_gives_back_what_it_had() -> None:
    silent = SilentLm()
    async with cluster(lms=[silent]) as all_of_it:
        opening = asyncio.create_task(CallStreams.open(*pools(all_of_it), SAMPLING))
        await silent.entered.wait()
        await eventually(lambda: all_of_it.workers[0].live_sessions == 2)
        opening.cancel()
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await all_of_it.until_free()


async def test_a_worker_that_does_not_answer_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops_module, "_HELD_WITHIN_S", 0.1)
    silent = SilentLm()
    async with cluster(lms=[silent, EchoLm(2)]) as all_of_it:
        await eventually(lambda: sum(worker.takes_sessions for worker in pools(all_of_it)[1]._workers.values()) == 2)
        hops = await CallStreams.open(*pools(all_of_it), SAMPLING)
        assert silent.entered.is_set()
        assert all_of_it.workers[2].live_sessions == 1
        hops.cancel()
        await all_of_it.until_free()


@pytest.mark.parametrize("codecs", [1, 2, 3])
async def test_several_codecs_hold_as_many_calls_as_they_have_slots(codecs: int) -> None:
    async with cluster([EchoCodec(4) for _ in range(codecs)], [EchoLm(32)]) as all_of_it:
        codec, lm = pools(all_of_it)
        await eventually(lambda: codec.within_reach() == codecs)
        held = [await CallStreams.open(codec, lm, SAMPLING) for _ in range(4 * codecs)]
        assert [worker.live_sessions for worker in all_of_it.workers[:codecs]] == [8] * codecs
        with pytest.raises(NoFreeSlot, match="codec"):
            await CallStreams.open(codec, lm, SAMPLING)
        for hops in held:
            hops.cancel()
        await all_of_it.until_free()


async def test_an_lm_whose_engine_stands_still_is_passed_over_and_then_asked_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hops_module, "_NEW_WITHIN_S", 0.2)
    stuck, well = EchoLm(16), EchoLm(8)
    go_on, prepare = threading.Event(), stuck.runner.prepare
    monkeypatch.setattr(stuck.runner, "prepare", lambda slot: go_on.wait(20) and prepare(slot))
    async with cluster(lms=[stuck, well]) as all_of_it:
        codec, lm = pools(all_of_it)
        await eventually(lambda: lm.within_reach() == 2)
        held = [await CallStreams.open(codec, lm, SAMPLING) for _ in range(3)]
        assert well.live_sessions == 3
        assert stuck.live_sessions == 1, "asked again"
        go_on.set()
        for hops in held:
            hops.cancel()
        await all_of_it.until_free()


class Answering(EchoCodec):
    """An encoder that ends the stream after its first answer."""

    def __init__(self, status: grpc.StatusCode | None) -> None:
        super().__init__()
        self._status = status
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def Encode(self, request_iterator: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> None:
        await context.send_initial_metadata(rpc.SLOT_HELD)
        await anext(request_iterator)
        await self.go_on.wait()
        await context.write(codec_pb2.CodeFrame(codes=[1] * 8))
        if self._status is not None:
            await context.abort(self._status, "what it says")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, Unavailable),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.INTERNAL, Unavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, NoFreeSlot),
        (grpc.StatusCode.INVALID_ARGUMENT, SessionError),
    ],
)
async def test_a_stream_that_ended_says_why_on_the_next_write(
    status: grpc.StatusCode | None, expected: type[SessionError]
) -> None:
    async with cluster([Answering(status)]) as all_of_it:
        hops = await CallStreams.open(*pools(all_of_it), SAMPLING)
        await hops.encode.write(pcm_message(hops.encode, bytes(4 * FRAME_SAMPLES)))
        await hops.encode.read()
        await eventually(lambda: hops.encode._stream.is_over)
        with pytest.raises(SessionError, match="^encode: ") as error:
            await hops.encode.write(pcm_message(hops.encode, bytes(4 * FRAME_SAMPLES)))
        assert type(error.value) is expected
        hops.encode.done_writing()
        hops.cancel()
        await all_of_it.until_free()


async def test_an_lm_that_does_not_open_the_session_is_unavailable() -> None:
    class Confused(EchoLm):
        async def Generate(self, request_iterator: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> None:
            await context.send_initial_metadata(rpc.SLOT_HELD)
            await context.write(lm_pb2.GenerateResponse(go_away=lm_pb2.GenerateResponse.GoAway()))

    async with cluster(lms=[Confused()]) as all_of_it:
        with pytest.raises(Unavailable, match="lm: the worker did not open the session"):
            await CallStreams.open(*pools(all_of_it), SAMPLING)
        await all_of_it.until_free()


def test_the_frames_of_a_stream_are_numbered_from_zero() -> None:
    hop = WorkerStream("encode", None)
    assert [pcm_message(hop, b"").frame_index for _ in range(3)] == [0, 1, 2]
