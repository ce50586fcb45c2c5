"""What ends a call although nobody hung up: slo, limits, floods, callers who read nothing."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from moshi_cluster.v1 import gateway_pb2
from tests.services.gateway.caller import F32_24K, SAID, Caller, Kind, balanced
from tests.services.gateway.cluster import EchoCodec, cluster
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")


async def test_a_broken_slo_on_lateness_ends_the_call_with_the_figures() -> None:
    codec = EchoCodec()
    async with cluster([codec]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(slo=gateway_pb2.Slo(max_late_ratio=0.25))
        codec.decoder.hold()
        await caller.say_levels([1])
        await codec.decoder.step_entered()
        await caller.say_levels([1] * 59)
        await eventually(lambda: all_of_it.sample("moshi_gateway_frames_total", kind="in") == 60)
        await asyncio.sleep(0.085)  # every frame so far is then late, on any machine
        codec.decoder.let_all()
        code, details = await caller.status()
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert details == "slo: share of late frames"
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="DEADLINE_EXCEEDED") == 1


async def test_a_broken_slo_on_backlog_ends_the_call_with_the_figures() -> None:
    codec = EchoCodec()
    async with cluster([codec], inflight_frames=1) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(slo=gateway_pb2.Slo(max_backlog_frames=4))
        codec.encoder.hold()
        await caller.say_levels([1])
        await codec.encoder.step_entered()
        await caller.say_levels([1] * 5)
        assert await caller.status() == (grpc.StatusCode.DEADLINE_EXCEEDED, "slo: waiting frames")
        codec.encoder.let_all()
        await all_of_it.until_free()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"idle_timeout_s": 0.1}, "the caller sent nothing"),
        ({"session_max_s": 0.1}, "the call reached its longest time"),
    ],
)
async def test_a_call_that_reaches_a_limit_ends(setting: dict[str, float], message: str) -> None:
    async with cluster(**setting) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        assert await caller.status() == (grpc.StatusCode.DEADLINE_EXCEEDED, message)
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="DEADLINE_EXCEEDED") == 1


async def test_replies_that_do_not_come_after_hang_up_end_the_call() -> None:
    codec = EchoCodec()
    async with cluster([codec], flush_timeout_s=1.0) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        codec.encoder.hold()
        await caller.say_levels([1])
        await caller.call.done_writing()
        code, details = await caller.status()
        assert (code, details) == (grpc.StatusCode.DEADLINE_EXCEEDED, "the last replies were not taken in time")
        codec.encoder.let_all()
        await all_of_it.until_free()


async def test_a_slow_reader_is_bounded_and_told() -> None:
    async with cluster(reply_backlog_ms=800, max_messages_per_s=1e6) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(loopback=True)
        for start in range(0, 600, 10):
            await caller.say_levels([level % 60 for level in range(start, start + 10)])
        await caller.call.done_writing()
        await eventually(lambda: all_of_it.sample("moshi_gateway_hop_seconds_count", hop="edge_in") == 600)
        heard = await caller.rest()
        counters = heard.counters
        assert counters.frames_in == 600
        assert counters.reply_frames_dropped > 0, "the transport holds more than the test sends"
        assert balanced(counters)
        assert counters.frames_out == len(heard.levels)
        assert sum(event.frames for event in heard.events(Kind.KIND_REPLY_DROPPED)) == counters.reply_frames_dropped
        assert all_of_it.sample("moshi_gateway_frames_total", kind="reply_dropped") == counters.reply_frames_dropped


async def test_a_caller_who_never_reads_ends_and_frees_their_slots() -> None:
    async with cluster(flush_timeout_s=1.0, reply_backlog_ms=800, max_messages_per_s=1e6) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        for _ in range(30):
            await caller.say_levels(SAID)
        await caller.call.done_writing()
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="DEADLINE_EXCEEDED") == 1
        assert (await caller.status())[0] is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_flood_of_messages_ends_the_call() -> None:
    async with cluster(max_messages_per_s=1.0) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        for _ in range(25):
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await caller.say(b"")
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="RESOURCE_EXHAUSTED") == 1
        assert (await caller.status())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_unread_events_beyond_the_limit_end_the_call() -> None:
    async with cluster(reply_notes_max=10) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(reply_pacing=gateway_pb2.Start.REPLY_PACING_PACED)
        await caller.say_levels([1] * 15)
        await eventually(lambda: all_of_it.sample("moshi_gateway_hop_seconds_count", hop="decode") == 15)
        for _ in range(12):
            await caller.control(mark=gateway_pb2.Control.Mark(name="m"))
        code, details = await caller.status()
        assert (code, details) == (grpc.StatusCode.DEADLINE_EXCEEDED, "too many texts and events wait unread")
        await all_of_it.until_free()


async def test_a_caller_who_sends_hours_at_once_is_read_no_faster_than_they_speak() -> None:
    """What is not read waits with them; nobody decodes it, and nothing of it is kept here."""
    async with cluster(backlog_frames=8) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(input_format=F32_24K)
        second = gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=bytes(4 * 24_000)))
        written = 0

        async def write() -> None:
            nonlocal written
            for _ in range(1000):
                await caller.call.write(second)
                written += 1

        writing = asyncio.create_task(write())
        await eventually(lambda: all_of_it.sample("moshi_gateway_frames_total", kind="in") >= 37)
        assert all_of_it.sample("moshi_gateway_frames_total", kind="dropped") == 0
        assert written < 500  # the connection is full
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        caller.call.cancel()
        await all_of_it.until_free()
