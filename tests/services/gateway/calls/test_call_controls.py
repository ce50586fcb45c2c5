"""What controls do to a call: marks, clear, pause, status, keys."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from moshi_cluster.v1 import gateway_pb2
from tests.services.gateway.caller import SAID, Caller, Kind, balanced
from tests.services.gateway.cluster import EchoCodec, cluster
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")


async def test_a_mark_is_echoed_after_the_audio_before_it() -> None:
    codec = EchoCodec()
    async with cluster([codec]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1, 2])
        await caller.answered(2)
        await caller.control(mark=gateway_pb2.Control.Mark(name="two said"))
        await caller.until("event")
        await caller.say_levels([3])
        heard = await caller.hang_up()
        position = [message.HasField("event") for message in heard.messages].index(True)
        assert heard.messages[position].event == gateway_pb2.Event(
            kind=Kind.KIND_MARK, detail="two said", frame_index=2
        )
        assert len([m for m in heard.messages[:position] if m.HasField("audio")]) == 2
        assert heard.levels == [1, 2, 3]


async def test_clear_throws_away_what_has_not_left_and_marks_behind_it_come_at_once() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(reply_pacing=gateway_pb2.Start.REPLY_PACING_PACED)
        said = list(range(1, 21))
        await caller.say_levels(said)
        await eventually(lambda: all_of_it.sample("moshi_gateway_hop_seconds_count", hop="decode") == len(said))
        await caller.control(mark=gateway_pb2.Control.Mark(name="end"))
        await caller.control(clear=gateway_pb2.Control.ClearRequest())
        heard = await caller.hang_up()
        (cleared,) = heard.events(Kind.KIND_CLEARED)
        assert [event.detail for event in heard.events(Kind.KIND_MARK)] == ["end"]
        assert cleared.frames == heard.counters.reply_frames_dropped > 0
        assert heard.levels == said[: len(said) - cleared.frames]
        assert balanced(heard.counters)
        assert all_of_it.sample("moshi_gateway_frames_total", kind="reply_dropped") == cleared.frames


async def test_what_is_said_during_a_pause_is_dropped_and_counted() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1, 2])
        await caller.answered(2)
        await caller.control(pause=gateway_pb2.Control.Pause())
        await caller.until("event", Kind.KIND_PAUSED)
        await caller.say_levels([3, 4, 5])
        await eventually(lambda: all_of_it.sample("moshi_gateway_frames_total", kind="reply_dropped") == 3)
        await caller.control(resume=gateway_pb2.Control.Resume())
        await caller.until("event", Kind.KIND_RESUMED)
        await caller.say_levels([6])
        heard = await caller.hang_up()
        assert heard.levels == [1, 2, 6]
        assert heard.counters.reply_frames_dropped == 3
        assert balanced(heard.counters)
        assert [index for index, _ in heard.texts] == [0, 2, 4]


async def test_a_call_that_hangs_up_paused_ends_balanced() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(reply_packet_ms=100)
        await caller.control(pause=gateway_pb2.Control.Pause())
        await caller.say_levels(SAID[:7])
        heard = await caller.hang_up()
        assert heard.packets == []
        assert heard.counters.reply_frames_dropped == 7
        assert balanced(heard.counters)


async def test_status_tells_the_counters_so_far() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1, 2, 3])
        await caller.answered(3)
        await caller.control(status=gateway_pb2.Control.StatusRequest())
        event = (await caller.until("event")).event
        assert event.kind == Kind.KIND_STATUS
        assert (event.counters.frames_in, event.counters.frames_out, event.frame_index) == (3, 3, 3)
        await caller.hang_up()


async def test_keys_are_noted() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        for digit in "0*#D":
            await caller.control(dtmf=gateway_pb2.Control.Dtmf(digit=digit))
        heard = await caller.hang_up()
        assert [event.detail for event in heard.events(Kind.KIND_DTMF)] == list("0*#D")
        assert all_of_it.sample("moshi_gateway_dtmf_total") == 4


@pytest.mark.parametrize("digit", ["E", "a", "12", "", "!", "\u0661"])
async def test_what_is_no_key_is_passed_over_and_told_and_the_call_goes_on(digit: str) -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        for pressed in ("1", digit, "#"):
            await caller.control(dtmf=gateway_pb2.Control.Dtmf(digit=pressed))
        await caller.say_levels([3])
        heard = await caller.hang_up()
        assert heard.levels == [3]
        assert [event.detail for event in heard.events(Kind.KIND_DTMF)] == ["1", "#"]
        (ignored,) = heard.events(Kind.KIND_DTMF_IGNORED)
        assert ignored.detail == "must be one of 0123456789*#ABCD"
        assert all_of_it.sample("moshi_gateway_dtmf_total") == 2
        assert all_of_it.sample("moshi_gateway_dtmf_ignored_total") == 1


async def test_keys_leave_one_line_a_call_that_does_not_say_which(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "moshi_cluster.services.gateway")
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        session_id = (await caller.start()).session_id
        for digit in ["7"] * 50 + ["E"] * 2:
            await caller.control(dtmf=gateway_pb2.Control.Dtmf(digit=digit))
        await caller.hang_up()
        await all_of_it.until_free()
    lines = [record.getMessage() for record in caplog.records if "key" in record.getMessage()]
    assert lines == [f"keys session={session_id} pressed=50 ignored=2"]


async def test_a_call_without_keys_leaves_no_line_of_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "moshi_cluster.services.gateway")
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.hang_up()
    assert "keys" not in caplog.text


async def test_nobody_presses_a_thousand_keys_at_once() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        for _ in range(1000):
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await caller.control(dtmf=gateway_pb2.Control.Dtmf(digit="1"))
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="RESOURCE_EXHAUSTED") == 1
        assert 100 <= all_of_it.sample("moshi_gateway_dtmf_total") < 1000
        assert (await caller.status())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
