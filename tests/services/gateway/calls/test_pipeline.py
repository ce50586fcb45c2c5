"""The pipeline of a call: what a lost caller, a lost worker or a worker that makes mistakes leaves behind."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from moshi_cluster.services.common.errors import EngineFailed, SessionError, Unavailable
from moshi_cluster.services.common.session_stream import SessionStream
from moshi_cluster.v1 import codec_pb2
from tests.services.gateway.caller import Caller, frame
from tests.services.gateway.calls.test_reservations import retry_after_ms
from tests.services.gateway.cluster import EchoCodec, EchoLm, cluster
from tests.services.gateway.workers.test_streams import Answering, SilentLm
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")


async def test_a_caller_who_vanishes_frees_their_slots() -> None:
    codec = EchoCodec()
    async with cluster([codec]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        codec.decoder.hold()
        await caller.say_levels(range(10))
        await codec.decoder.step_entered()
        caller.call.cancel()
        codec.decoder.let_all()
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="CANCELLED") == 1


async def test_a_caller_who_vanishes_while_the_call_opens_frees_their_slots() -> None:
    silent = SilentLm()
    async with cluster(lms=[silent]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.send_start()
        await silent.entered.wait()
        caller.call.cancel()
        await silent.left.wait()
        await all_of_it.until_free()


@pytest.mark.parametrize("said", [None, Unavailable("draining"), EngineFailed("broken")])
async def test_a_worker_that_ends_a_stream_early_makes_the_call_unavailable(said: SessionError | None) -> None:
    async with cluster([Answering(said)]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1, 1])
        code, details = await caller.status()
        assert code == grpc.StatusCode.UNAVAILABLE
        assert details.startswith("encode: ")
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="UNAVAILABLE") == 1


async def test_a_worker_that_ends_a_stream_is_noticed_although_the_caller_says_nothing() -> None:
    async with cluster([Answering(None)]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1])
        assert await caller.status() == (grpc.StatusCode.UNAVAILABLE, "encode: the codec worker ended the stream")
        await all_of_it.until_free()


async def test_frames_that_a_worker_leaves_unanswered_do_not_end_a_call_well() -> None:
    class Forgetful(EchoCodec):
        async def decode(self, stream: SessionStream[Any, Any]) -> None:
            await stream.held()
            frames = [request async for request in stream.requests]
            for index in range(len(frames) - 1):
                await stream.write(codec_pb2.PcmFrame(pcm_f32le=frame(1), frame_index=index))

    async with cluster([Forgetful()], open_timeout_s=3.0) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1, 1, 1])
        await caller.call.done_writing()
        assert await caller.status() == (grpc.StatusCode.UNAVAILABLE, "decode: the codec worker ended the stream")
        assert len(caller.heard.packets) <= 2
        await all_of_it.until_free()


async def test_a_worker_that_ends_a_stream_during_the_flush_makes_the_call_unavailable() -> None:
    encoder = Answering(None)
    encoder.go_on.clear()
    async with cluster([encoder]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1] * 30)
        await caller.call.done_writing()
        await eventually(lambda: all_of_it.sample("moshi_gateway_frames_total", kind="in") == 30)
        encoder.go_on.set()
        code, details = await caller.status()
        assert code == grpc.StatusCode.UNAVAILABLE
        assert details.startswith("encode: ")
        await all_of_it.until_free()


async def test_a_worker_that_is_declared_down_ends_its_calls_at_once_and_frees_the_others_slots() -> None:
    codec, lm = EchoCodec(), EchoLm()
    async with cluster([codec], [lm]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1])
        await caller.answered(1)
        lm.runner.hold()
        (worker,) = all_of_it.manager.fleet.lm.taking
        worker.capacity = None
        worker.mux.lose("no report within 3 s")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await caller.rest()
        assert (error.value.code(), error.value.details()) == (grpc.StatusCode.UNAVAILABLE, "lm: the lm worker is lost")
        assert retry_after_ms(error.value) == 250
        await eventually(lambda: not codec.live_sessions)
        lm.runner.let_all()
        await all_of_it.until_free()


async def test_a_worker_that_dies_ends_its_calls_and_no_others() -> None:
    dying, staying = EchoCodec(1), EchoCodec(1)
    async with cluster([dying, staying]) as all_of_it:
        await eventually(lambda: all_of_it.sample("moshi_gateway_workers", service="codec") == 2)
        callers = [Caller(all_of_it.stub) for _ in range(2)]
        await callers[0].start()
        victim, neighbour = callers if dying.live_sessions else reversed(callers)
        await callers[1].start()
        for caller in callers:
            await caller.say_levels([1])
            await caller.answered(1)
        assert dying.live_sessions == 2  # one to encode, one to decode
        await all_of_it.listening[0].server.stop(None)
        code, _ = await victim.status()
        assert code == grpc.StatusCode.UNAVAILABLE
        await neighbour.say_levels([2])
        assert (await neighbour.hang_up()).levels == [1, 2]
        await all_of_it.until_free()
