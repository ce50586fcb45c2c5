"""The public service: what it refuses, how many it takes, how it stops, what a lost worker or caller leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import grpc
import hypothesis
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import strategies as st

from moshi_cluster.services.common import rpc
from moshi_cluster.services.common.errors import LimitReached
from moshi_cluster.services.gateway.calls.spec import parse_start
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import codec_pb2, common_pb2, gateway_pb2
from tests.services.gateway.caller import F32_24K, Caller, Kind, frame, start
from tests.services.gateway.cluster import Cluster, EchoCodec, EchoLm, cluster
from tests.services.gateway.workers.test_streams import Answering, SilentLm, pools
from tests.services.in_process import eventually, serving, status_of

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

Request = gateway_pb2.ConverseRequest
Control = gateway_pb2.Control
CONVERSE = "/moshi_cluster.v1.Gateway/Converse"


async def status_after(all_of_it: Cluster, *requests: Request) -> tuple[grpc.StatusCode, str]:
    """How a call ends that sends these messages and, when there are none, hangs up."""
    call = all_of_it.stub.Converse()
    for request in requests:
        await call.write(request)
    if not requests:
        await call.done_writing()
    return await status_of(call)


# --- what is refused

START = Request(start=start())


def audio(data: bytes) -> Request:
    return Request(audio=gateway_pb2.Audio(data=data))


def control(**kind: Any) -> Request:
    return Request(control=Control(**kind))


def floats(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


REFUSED = {
    "an empty stream": ([], "start: the stream ended before it"),
    "audio before start": ([audio(b"")], "start: must be the first message"),
    "control before start": ([control(status=Control.StatusRequest())], "start: must be the first message"),
    "an empty message before start": ([Request()], "start: must be the first message"),
    "no format": ([Request(start=gateway_pb2.Start())], "start.input_format: required"),
    "an unknown rate": (
        [Request(start=start(output_format=gateway_pb2.AudioFormat(encoding=1, sample_rate_hz=11_025)))],
        "start.output_format.sample_rate_hz: must be",
    ),
    "a different second start": ([START, Request(start=start(call_label="b"))], "start: differs from the one"),
    "an empty message": ([START, Request()], "message: is none of start, audio and control"),
    "an odd number of bytes": ([START, audio(bytes(5))], "audio.data: must be whole samples of 4 bytes"),
    "more than a second": ([START, audio(bytes(4 * 24_001))], "audio.data: must be at most 1 s"),
    "a sample that is no number": ([START, audio(floats(0, float("nan")))], "audio.data: samples must be finite"),
    "an infinite sample": ([START, audio(floats(float("-inf")))], "audio.data: samples must be finite"),
    "an empty control": ([START, control()], "control: is none of clear, mark"),
    "a mark without a name": ([START, control(mark=Control.Mark())], "control.mark.name: must be 1 to 64"),
    "a mark with a long name": (
        [START, control(mark=Control.Mark(name="x" * 65))],
        "control.mark.name: must be 1 to 64",
    ),
    "an unknown key": ([START, control(dtmf=Control.Dtmf(digit="E"))], "control.dtmf.digit: must be one of"),
    "two keys": ([START, control(dtmf=Control.Dtmf(digit="12"))], "control.dtmf.digit: must be one of"),
}


@pytest.mark.parametrize(("requests", "message"), REFUSED.values(), ids=REFUSED)
async def test_what_makes_no_sense_is_refused_by_the_fields_name(requests: list[Request], message: str) -> None:
    async with cluster() as all_of_it:
        code, details = await status_after(all_of_it, *requests)
        assert (code, details[: len(message)]) == (grpc.StatusCode.INVALID_ARGUMENT, message)
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="INVALID_ARGUMENT") == 1


async def test_bytes_that_are_no_message_are_refused_and_disturb_nobody() -> None:
    noise = random.Random(1)
    async with cluster() as all_of_it:
        neighbour = Caller(all_of_it.stub)
        await neighbour.start()
        raw = all_of_it.channel.stream_stream(CONVERSE)
        for before in ([], [START.SerializeToString()]):
            for data in (b"\xff", b"\x0a\x05\x01", noise.randbytes(1000)):
                call = raw()
                for message in (*before, data):
                    await call.write(message)
                code, details = await status_of(call)
                assert code == grpc.StatusCode.INVALID_ARGUMENT, details
        await neighbour.say_levels([1, 2, 3])
        assert (await neighbour.hang_up()).levels == [1, 2, 3]
        await all_of_it.until_free()


@hypothesis.settings(max_examples=25)
@hypothesis.given(data=st.lists(st.binary(max_size=40), max_size=4), started=st.booleans())
async def test_any_bytes_get_a_status_and_leave_nothing_behind(data: list[bytes], started: bool) -> None:
    async with cluster() as all_of_it:
        raw = all_of_it.channel.stream_stream(CONVERSE)
        before = [START.SerializeToString()] if started else []
        code, details = await status_of(raw(iter([*before, *data])))
        # The client library calls it INTERNAL when the refusal comes while it still sends.
        cut_short = (code, details) == (grpc.StatusCode.INTERNAL, "Internal error from Core")
        assert cut_short or code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT), details
        await all_of_it.until_free()


async def test_ten_megabytes_are_refused_and_disturb_nobody() -> None:
    async with cluster() as all_of_it:
        neighbour = Caller(all_of_it.stub)
        await neighbour.start()
        code, details = await status_after(all_of_it, START, audio(bytes(10_000_000)))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in details
        await neighbour.say_levels([1, 2, 3])
        assert (await neighbour.hang_up()).levels == [1, 2, 3]
        await all_of_it.until_free()


async def test_a_bad_packet_in_mid_call_ends_only_that_call() -> None:
    async with cluster() as all_of_it:
        bad, neighbour = Caller(all_of_it.stub), Caller(all_of_it.stub)
        for caller in (bad, neighbour):
            await caller.start()
            await caller.say_levels([5])
            await caller.answered(1)
        await bad.say(bytes(3))
        code, _ = await bad.status()
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        await neighbour.say_levels([6])
        assert (await neighbour.hang_up()).levels == [5, 6]
        await all_of_it.until_free()


async def test_a_stream_that_sends_no_start_ends() -> None:
    async with cluster(open_timeout_s=0.1) as all_of_it:
        caller = Caller(all_of_it.stub)
        code, details = await caller.status()
        assert (code, details) == (grpc.StatusCode.DEADLINE_EXCEEDED, "no `start` came (limit 0.1 s)")
        await all_of_it.until_free()


# --- start


async def test_an_identical_start_again_does_nothing() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(call_label="a line")
        for level in (1, 2):
            await caller.send_start(call_label="a line")
            await caller.say_levels([level])
        heard = await caller.hang_up()
        assert heard.levels == [1, 2]
        assert len([message for message in heard.messages if message.HasField("started")]) == 1


async def test_started_says_what_the_call_is() -> None:
    async with cluster() as all_of_it:
        callers = [Caller(all_of_it.stub) for _ in range(3)]
        seeded = await callers[0].start(sampling=common_pb2.Sampling(seed=17))
        others = [await caller.start() for caller in callers[1:]]
        assert seeded.seed == 17
        assert others[0].seed != others[1].seed
        assert seeded.output_format == F32_24K
        assert len({started.session_id for started in (seeded, *others)}) == 3
        assert all(len(bytes.fromhex(started.session_id)) == 16 for started in (seeded, *others))
        assert seeded.setup_us > 0
        for caller in callers:
            await caller.hang_up()


async def test_the_sampling_asked_for_reaches_the_lm() -> None:
    lm = EchoLm()
    async with cluster(lms=[lm]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(sampling=common_pb2.Sampling(seed=17, text_temperature=0.0, audio_top_k=3))
        (spec,) = lm.runner.specs.values()
        assert (spec.seed, spec.text_temperature, spec.audio_top_k) == (17, 0.0, 3)
        assert (spec.text_top_k, spec.audio_temperature) == (25, pytest.approx(0.8))
        await caller.hang_up()


# --- how many


def retry_after_ms(error: grpc.aio.AioRpcError) -> int:
    """The stock hint of a refusal."""
    status = rpc_status.from_call(error)
    (detail,) = status.details
    retry = error_details_pb2.RetryInfo()
    assert detail.Unpack(retry)
    return round(retry.retry_delay.ToMilliseconds())


@pytest.mark.parametrize("what_is_full", ["gateway", "codec", "lm"])
async def test_a_call_too_many_is_refused_with_a_hint_when_to_try_again(what_is_full: str) -> None:
    codec = EchoCodec(2 if what_is_full == "codec" else 8)
    lm = EchoLm(2 if what_is_full == "lm" else 8)
    async with cluster([codec], [lm], max_sessions=2 if what_is_full == "gateway" else 100) as all_of_it:
        held = [Caller(all_of_it.stub) for _ in range(2)]
        for caller in held:
            await caller.start()
        refused = Caller(all_of_it.stub)
        await refused.send_start()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await refused.rest()
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry_after_ms(error.value) == 250
        for caller in held:
            await caller.say_levels([1])
            assert (await caller.hang_up()).levels == [1]
        await all_of_it.until_free()


async def test_a_client_beyond_its_own_number_of_calls_is_refused_alone() -> None:
    async with cluster(max_sessions_per_client=1) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        code, details = await status_after(all_of_it, START)
        assert (code, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "this client already holds its 1 calls")
        await caller.hang_up()
        await all_of_it.until_free()
        again = Caller(all_of_it.stub)
        await again.start()
        await again.hang_up()


async def test_a_flood_of_messages_ends_the_call() -> None:
    async with cluster(max_messages_per_s=10.0) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        for _ in range(25):
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await caller.say(b"")
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="RESOURCE_EXHAUSTED") == 1
        caller.call.cancel()


@pytest.mark.parametrize("slots", [1, 3, 8])
async def test_a_burst_of_calls_fills_every_slot_and_no_more(slots: int) -> None:
    async with cluster([EchoCodec(slots)], [EchoLm(slots)]) as all_of_it:
        callers = [Caller(all_of_it.stub) for _ in range(slots + 2)]
        for caller in callers:
            await caller.send_start()
            await caller.say_levels([1])
            await caller.call.done_writing()
        outcomes = await asyncio.gather(*(caller.status() for caller in callers))
        served = [code for code, _ in outcomes if code == grpc.StatusCode.OK]
        assert {code for code, _ in outcomes} <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert len(served) >= slots
        await all_of_it.until_free()


async def test_a_place_is_free_again_after_every_kind_of_end() -> None:
    async with cluster([EchoCodec(1)], [EchoLm(1)], max_sessions=1) as all_of_it:
        workers = [worker for pool in pools(all_of_it) for worker in pool._workers.values()]
        for end in ("hang up", "cancel", "nonsense", "hang up"):
            caller = Caller(all_of_it.stub)
            await caller.start()
            await caller.say_levels([1])
            if end == "hang up":
                assert (await caller.hang_up()).levels == [1]
            elif end == "cancel":
                caller.call.cancel()
            else:
                await caller.say(bytes(1))
                await caller.status()
            await all_of_it.until_free()
            await eventually(lambda: not any(worker.is_full for worker in workers))


async def test_without_workers_a_call_is_unavailable() -> None:
    lm = EchoLm()
    async with cluster(lms=[lm]) as all_of_it:
        lm.drain(60.0)
        await eventually(lambda: not any(w.takes_sessions for w in all_of_it.service._manager._lm._workers.values()))
        code, details = await status_after(all_of_it, START)
        assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "no lm worker is within reach")
        assert all_of_it.sample("moshi_gateway_worker_rejections_total", status="UNAVAILABLE") == 1
        await all_of_it.until_free()


async def test_workers_that_do_not_open_the_call_in_time_are_unavailable() -> None:
    async with cluster(lms=[SilentLm()], open_timeout_s=0.1) as all_of_it:
        code, details = await status_after(all_of_it, START)
        assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "the workers did not open the call in time")
        await all_of_it.until_free()


# --- what is lost


async def test_a_caller_who_vanishes_frees_his_slots() -> None:
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


async def test_a_caller_who_vanishes_while_the_call_opens_frees_his_slots() -> None:
    silent = SilentLm()
    async with cluster(lms=[silent]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.send_start()
        await silent.entered.wait()
        caller.call.cancel()
        await silent.left.wait()
        await all_of_it.until_free()


@pytest.mark.parametrize("status", [None, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
async def test_a_worker_that_ends_a_stream_early_makes_the_call_unavailable(status: grpc.StatusCode | None) -> None:
    async with cluster([Answering(status)]) as all_of_it:
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
        assert await caller.status() == (grpc.StatusCode.UNAVAILABLE, "encode: the worker ended the stream")
        await all_of_it.until_free()


async def test_frames_that_a_worker_leaves_unanswered_do_not_end_a_call_well() -> None:
    class Forgetful(EchoCodec):
        async def Decode(self, request_iterator: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> None:
            await context.send_initial_metadata(rpc.SLOT_HELD)
            frames = [request async for request in request_iterator]
            for index in range(len(frames) - 1):
                await context.write(codec_pb2.PcmFrame(pcm_f32le=frame(1), frame_index=index))

    async with cluster([Forgetful()]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1, 1, 1])
        await caller.call.done_writing()
        assert await caller.status() == (grpc.StatusCode.UNAVAILABLE, "decode: the worker ended the stream")
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


async def test_a_worker_that_dies_ends_its_calls_and_no_others() -> None:
    dying, staying = EchoCodec(3), EchoCodec(1)
    async with cluster([staying], [EchoLm()]) as all_of_it, serving(dying) as doomed:
        pool = all_of_it.service._manager._codec
        neighbour, victim = Caller(all_of_it.stub), Caller(all_of_it.stub)
        await neighbour.start()
        pool._targets = (*pool._targets, doomed.target)
        await pool._resolve()
        await eventually(lambda: pool._workers[doomed.target].takes_sessions)
        await victim.start()
        for caller in (neighbour, victim):
            await caller.say_levels([1])
            await caller.answered(1)
        assert dying.live_sessions == 2
        await doomed.server.stop(None)
        code, _ = await victim.status()
        assert code == grpc.StatusCode.UNAVAILABLE
        await neighbour.say_levels([2])
        assert (await neighbour.hang_up()).levels == [1, 2]
        await all_of_it.until_free()


# --- the end of the process


async def test_a_drain_refuses_new_calls_and_lets_live_ones_finish() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1])
        all_of_it.service.drain(60.0)
        assert await status_after(all_of_it, START) == (grpc.StatusCode.UNAVAILABLE, "the gateway is draining")
        notice = (await caller.until("event")).event
        assert (notice.kind, notice.detail) == (Kind.KIND_GO_AWAY, "the gateway stops in 60 s")
        await caller.say_levels([2])
        heard = await caller.hang_up()
        assert heard.levels == [1, 2]
        assert heard.ended.reason == gateway_pb2.Ended.REASON_HANGUP
        await all_of_it.service.until_idle()


async def test_a_call_that_outlasts_the_drain_is_flushed_and_told_why() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1, 2])
        await caller.say(frame(3)[: 4 * 7])
        await eventually(lambda: all_of_it.sample("moshi_gateway_frames_total", kind="in") == 2)
        all_of_it.service.drain(1.0)
        heard = await caller.rest()
        assert heard.ended.reason == gateway_pb2.Ended.REASON_SHUTDOWN
        assert heard.levels[:2] == [1, 2]
        assert heard.counters.frames_out == heard.counters.frames_in
        await all_of_it.service.until_idle()


async def test_a_call_that_opens_into_a_drain_is_refused() -> None:
    silent = SilentLm()
    async with cluster(lms=[silent]) as all_of_it:
        unstarted, opening = Caller(all_of_it.stub), Caller(all_of_it.stub)
        await opening.send_start()
        await silent.entered.wait()
        all_of_it.service.drain(60.0)
        silent.go_on.set()
        assert await opening.status() == (grpc.StatusCode.UNAVAILABLE, "the gateway is draining")
        unstarted.call.cancel()
        await all_of_it.until_free()


async def test_a_drain_reaches_every_call_although_one_has_read_nothing() -> None:
    async with cluster(reply_notes_max=10) as all_of_it:
        deaf, caller = Caller(all_of_it.stub), Caller(all_of_it.stub)
        await deaf.start(reply_pacing=gateway_pb2.Start.REPLY_PACING_PACED)
        await deaf.say_levels([1] * 3)
        await eventually(lambda: all_of_it.sample("moshi_gateway_hop_seconds_count", hop="decode") == 3)
        await caller.start()
        (full, _) = sorted(all_of_it.service._manager._calls, key=lambda call: call._spec.paced, reverse=True)
        with contextlib.suppress(LimitReached):
            while True:
                full.mark("m")
        all_of_it.service.drain(60.0)
        assert (await caller.until("event")).event.kind == Kind.KIND_GO_AWAY
        for each in (deaf, caller):
            each.call.cancel()
        await all_of_it.until_free()


async def test_unread_notes_beyond_the_limit_end_the_call() -> None:
    async with cluster(reply_notes_max=10) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(reply_pacing=gateway_pb2.Start.REPLY_PACING_PACED)
        await caller.say_levels([1] * 3)
        await eventually(lambda: all_of_it.sample("moshi_gateway_hop_seconds_count", hop="decode") == 3)
        for _ in range(12):
            await caller.control(mark=Control.Mark(name="m"))
        code, details = await caller.status()
        assert (code, details) == (grpc.StatusCode.DEADLINE_EXCEEDED, "10 texts and events wait unread")
        await all_of_it.until_free()


async def test_a_client_that_reads_nothing_from_the_beginning_keeps_no_slot() -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    async with cluster(flush_timeout_s=0.1) as all_of_it:
        manager = all_of_it.service._manager
        async with manager.reserve("ipv4:10.0.0.1:1", parse_start(start(), GatewaySettings())) as seat:
            with pytest.raises(LimitReached, match="does not read"):
                await manager.converse("a session", seat, never, never)
        await all_of_it.until_free()


async def test_a_caller_who_sends_hours_at_once_is_ended() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(input_format=F32_24K)
        second = gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=bytes(4 * 24_000)))
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for _ in range(100):
                await caller.call.write(second)
        await eventually(lambda: all_of_it.sample("moshi_gateway_sessions_total", outcome="RESOURCE_EXHAUSTED") == 1)
        await all_of_it.until_free()


async def test_the_service_fails_when_it_can_no_longer_look_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> None:
        raise RuntimeError("a bug")

    async with cluster(resolve_interval_s=0.05) as all_of_it:
        monkeypatch.setattr(all_of_it.service._manager._codec, "_resolve", broken)
        async with asyncio.timeout(20):
            assert str(await all_of_it.service.failed) == "a bug"
