"""Converse over real gRPC: what it refuses, what `started` says, what hostile bytes leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import random
from types import SimpleNamespace
from typing import Any

import grpc
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from moshi_cluster.services.gateway.api.grpc import requests, servicer
from moshi_cluster.services.gateway.api.grpc.servicer import cancelled_as
from moshi_cluster.v1 import common_pb2, gateway_pb2
from tests.services.gateway.caller import F32_24K, START, Caller, start, status_after
from tests.services.gateway.cluster import Cluster, EchoLm, cluster
from tests.services.in_process import PATIENCE_S, eventually, read, status_of

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

Request = gateway_pb2.ConverseRequest
Control = gateway_pb2.Control
CONVERSE = "/moshi_cluster.v1.Gateway/Converse"


# --- what is refused


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
    "an odd number of bytes": ([START, audio(bytes(5))], "audio.data: must be whole samples"),
    "more than a second": ([START, audio(bytes(4 * 24_001))], "audio.data: must be at most 1 s"),
    "a sample that is no number": ([START, audio(floats(0, float("nan")))], "audio.data: samples must be finite"),
    "an infinite sample": ([START, audio(floats(float("-inf")))], "audio.data: samples must be finite"),
    "an empty control": ([START, control()], "control: is none of clear, mark"),
    "a mark without a name": ([START, control(mark=Control.Mark())], "control.mark.name: must be 1 to 64"),
    "a mark with a long name": (
        [START, control(mark=Control.Mark(name="x" * 65))],
        "control.mark.name: must be 1 to 64",
    ),
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
        # gRPC itself refused it, and tells the service no more than that the caller is gone.
        await eventually(lambda: all_of_it.sample("moshi_gateway_sessions_total", outcome="CANCELLED") == 1)
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
        assert (code, details) == (grpc.StatusCode.DEADLINE_EXCEEDED, "no `start` came")
        await all_of_it.until_free()


# --- how it is counted


LARGE = audio(bytes(600_000))  # more than a message may have, less than gRPC refuses by itself


@pytest.mark.parametrize("before", [[], [START]], ids=["before start", "in the call"])
async def test_a_caller_who_goes_is_counted_as_gone(before: list[Request]) -> None:
    async with cluster() as all_of_it:
        call = all_of_it.stub.Converse()
        for request in before:
            await call.write(request)
            await read(call)
        await call.wait_for_connection()
        call.cancel()
        await all_of_it.until_free()
        await eventually(lambda: all_of_it.sample("moshi_gateway_sessions_total", outcome="CANCELLED") == 1)


@pytest.mark.parametrize("before", [[], [START]], ids=["before start", "in the call"])
async def test_a_caller_whose_deadline_passes_is_counted_so(
    before: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicer, "_SOONER_S", 3.5)  # the call may be long on its way here
    async with cluster() as all_of_it:
        call = all_of_it.stub.Converse(timeout=4.0)  # the gateway is to hear of it before
        for request in before:
            await call.write(request)
        assert (await status_of(call))[0] == grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: all_of_it.sample("moshi_gateway_sessions_total", outcome="DEADLINE_EXCEEDED") == 1)


@pytest.mark.parametrize(
    ("left_s", "status"),
    [(None, "CANCELLED"), (60.0, "CANCELLED"), (0.1, "DEADLINE_EXCEEDED"), (-1.0, "DEADLINE_EXCEEDED")],
)
def test_a_deadline_that_the_callers_clock_saw_first_is_one(left_s: float | None, status: str) -> None:
    context: Any = SimpleNamespace(time_remaining=lambda: left_s)
    assert cancelled_as(context) == status


@pytest.mark.parametrize("before", [[], [START]], ids=["before start", "in the call"])
async def test_a_message_that_is_too_large_is_refused_and_counted_so(before: list[Request]) -> None:
    async with cluster() as all_of_it:
        code, details = await status_after(all_of_it, *before, LARGE)
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details == "the message is too large"
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="RESOURCE_EXHAUSTED") == 1


# --- refusals that cross what the caller sends


async def status_of_burst(all_of_it: Cluster, *sent: Request) -> tuple[grpc.StatusCode, str]:
    """How a call ends whose caller sends all of this before they look."""
    call = all_of_it.stub.Converse()
    with pytest.MonkeyPatch.context() as patience:
        for allowance in ("_AT_LEAST_S", "_PAUSE_S"):
            patience.setattr(requests, allowance, 1.5)  # the caller is as slow as the test's own machine
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for request in sent:
                await call.write(request)
        return await status_of(call)


async def test_audio_before_start_is_refused_by_name_however_much_follows() -> None:
    async with cluster() as all_of_it:
        code, details = await status_of_burst(all_of_it, *[audio(bytes(640))] * 1000)
        assert (code, details) == (grpc.StatusCode.INVALID_ARGUMENT, "start: must be the first message")


async def test_several_messages_that_are_too_large_are_refused_as_such() -> None:
    async with cluster() as all_of_it:
        code, details = await status_of_burst(all_of_it, START, *[LARGE] * 40)
        assert (code, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "the message is too large")


async def test_five_thousand_marks_at_once_are_refused_as_too_many() -> None:
    mark = control(mark=Control.Mark(name="x"))
    async with cluster(max_messages_per_s=100.0, reply_notes_max=10_000) as all_of_it:
        code, details = await status_of_burst(all_of_it, START, *[mark] * 5000)
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details in ("more messages than one call may send", "more than this gateway has time for")


async def test_no_message_at_all_may_follow_bytes_that_are_none() -> None:
    async with cluster() as all_of_it:
        call = all_of_it.channel.stream_stream(CONVERSE)()
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for _ in range(1000):
                await call.write(b"\xff")
        assert (await status_of(call))[0] == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_refusal_waits_for_nobody_who_speaks_as_people_do() -> None:
    async with cluster(max_sessions=1) as all_of_it:
        held, refused = Caller(all_of_it.stub), Caller(all_of_it.stub)
        await held.start()
        await refused.send_start()
        said = 0
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while not refused.call.done():
                await refused.say(bytes(640))
                said += 1
                await asyncio.sleep(0.02)
        assert said < 50  # a second; what may be thrown away lasts for five
        await held.hang_up()


# --- start


async def test_the_headers_come_before_anything_was_sent() -> None:
    """Some libraries hand the call out only once they are there, and its caller sends only then."""
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        async with asyncio.timeout(PATIENCE_S):
            await caller.call.initial_metadata()
        await caller.start()
        await caller.say_levels([1])
        assert (await caller.hang_up()).levels == [1]


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
        in_use = spec.sampling
        assert (in_use.seed, in_use.text_temperature, in_use.audio_top_k) == (17, 0.0, 3)
        assert (in_use.text_top_k, in_use.audio_temperature) == (25, pytest.approx(0.8))
        await caller.hang_up()
