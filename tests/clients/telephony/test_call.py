"""Calls of the client for telephony systems against a gateway in the test's own process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moshi_cluster.clients.telephony import Call, CallError, CallEvent, Lost, PlaybackBuffer
from moshi_cluster.v1 import gateway_pb2 as pb
from tests.clients.cli.cut_line import cut_line
from tests.services.fake_workers import pcm_of
from tests.services.gateway.cluster import LEVELS, EchoCodec, cluster
from tests.services.in_process import PATIENCE_S

F32_24K = pb.AudioFormat(encoding=pb.ENCODING_PCM_F32LE, sample_rate_hz=24_000)
START = pb.Start(input_format=F32_24K)
PAGE = Path(__file__).parents[3] / "docs/clients.md"


def frames(levels: range) -> list[bytes]:
    """Packets of a frame each, told apart by their level."""
    return [pcm_of(level / LEVELS) for level in levels]


Look = Callable[[CallEvent], Any]


async def held(call: Call, packets: list[bytes], look: Look = lambda _event: None) -> list[Any]:
    """Everything that comes of a call in which these packets are said at once."""
    events = []

    async def speak() -> None:
        await call.play(packets, 0.0)
        await call.hang_up()

    async with asyncio.timeout(PATIENCE_S), call:
        speaking = asyncio.create_task(speak())
        async for event in call:
            events.append(event)
            look(event)
        await speaking
    return events


def audio(events: list[Any]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, pb.ReplyAudio))


async def test_what_is_played_is_answered_and_every_event_has_its_type() -> None:
    async with cluster() as running:
        events = await held(Call(running.target, START), frames(range(1, 7)))
    assert audio(events) == b"".join(frames(range(1, 7)))
    assert isinstance(events[0], pb.Started)
    assert isinstance(events[-1], pb.Ended)
    assert (events[-1].reason, events[-1].counters.frames_out) == (pb.Ended.REASON_HANGUP, 6)
    assert {type(event) for event in events} == {pb.Started, pb.ReplyAudio, pb.Text, pb.Ended}


async def test_a_call_whose_line_is_cut_goes_on_with_the_packet_that_was_not_sent() -> None:
    async with cluster(resume_keep_s=30.0) as running, cut_line(running.target) as line:
        call, lost = Call(line.address, START, resume=True), asyncio.Event()

        async def speak() -> None:
            await call.play(frames(range(1, 4)), 0.0)
            await lost.wait()
            await call.play(frames(range(4, 6)), 0.0)
            await call.hang_up()

        events = []
        async with asyncio.timeout(PATIENCE_S), call:
            speaking = asyncio.create_task(speak())
            async for event in call:
                events.append(event)
                if isinstance(event, pb.ReplyAudio) and not line.cuts:
                    line.cut()
                elif isinstance(event, Lost):
                    lost.set()
            await speaking
    assert [type(event) for event in events if isinstance(event, pb.Started | Lost)] == [pb.Started, Lost, pb.Started]
    assert audio(events).endswith(b"".join(frames(range(4, 6))))
    assert events[-1].reason == pb.Ended.REASON_HANGUP


async def test_a_lost_call_that_is_not_to_be_resumed_is_an_error_and_playing_ends() -> None:
    async with cluster() as running, cut_line(running.target) as line:
        call = Call(line.address, START)
        playing = asyncio.create_task(call.play(frames(range(1, 3)) * 1000, 0.08))

        async def listen() -> None:
            async with asyncio.timeout(PATIENCE_S), call:
                async for event in call:
                    if isinstance(event, pb.ReplyAudio):
                        line.cut()

        with pytest.raises(CallError, match="UNAVAILABLE"):
            await listen()
        await asyncio.wait_for(playing, PATIENCE_S)


async def test_who_barges_in_hears_no_more_of_what_was_said_before() -> None:
    start = pb.Start(input_format=F32_24K, reply_pacing=pb.Start.REPLY_PACING_PACED)
    said = frames(range(1, 31)) * 5  # 12 s of replies: nobody is so late that they were all heard before
    events, heard = [], asyncio.Event()
    async with cluster() as running, asyncio.timeout(PATIENCE_S), Call(running.target, start) as call:

        async def speak() -> None:
            await call.play(said, 0.0)
            await heard.wait()
            await call.barge_in()
            await call.hang_up()

        speaking = asyncio.create_task(speak())
        async for event in call:
            events.append(event)
            if isinstance(event, pb.ReplyAudio) and event.first_sample > 19_200:  # the rest waits for its turn
                heard.set()
        await speaking
    cleared = [event for event in events if isinstance(event, pb.Event) and event.kind == pb.Event.KIND_CLEARED]
    assert len(cleared) == 1
    assert events[-1].counters.frames_out < len(said)


async def test_leaving_hangs_up_at_once_and_what_is_said_without_a_call_goes_nowhere() -> None:
    async with cluster() as running:
        async with asyncio.timeout(PATIENCE_S), Call(running.target, START) as call:
            await call.say(b"nobody is there yet")
            assert isinstance(await anext(aiter(call)), pb.Started)
        await running.until_free()
        await call.say(b"nobody is there any more")
        await call.barge_in()


async def test_a_call_that_was_hung_up_before_it_began_ends_well() -> None:
    async with cluster() as running:
        call = Call(running.target, START)
        await call.hang_up()
        assert [type(event) for event in await held(call, [])] == [pb.Started, pb.Ended]


async def test_a_refusal_is_an_error_with_the_gateways_words() -> None:
    async with cluster(codecs=[EchoCodec(slots=1)]) as running, Call(running.target, START) as first:
        assert isinstance(await anext(aiter(first)), pb.Started)
        with pytest.raises(CallError, match=r"RESOURCE_EXHAUSTED: .* \(try again in 250 ms\)"):
            await held(Call(running.target, START), [])


async def test_the_example_on_the_page_holds_a_call() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (example,) = [block for block in blocks if "clients.telephony" in block]
    async with cluster() as running:
        names: dict[str, Any] = {"__name__": "example"}
        exec(example.replace("localhost:50051", running.target), names)
        heard = PlaybackBuffer(8000)
        async with asyncio.timeout(PATIENCE_S):
            await names["hold"]([b"\x80" * 160] * 8, heard)
        assert heard.queued + heard.dropped >= 2 * 640
        await running.until_free()
