"""A worker that stands still for two seconds."""

from __future__ import annotations

import asyncio
import signal
import time

import grpc
import pytest

from moshi_cluster.cluster.local_cluster import LocalCluster
from moshi_cluster.v1 import gateway_pb2
from tests.cluster.callers import PACKET_S, Line, open_call, speech

pytestmark = pytest.mark.cluster

BY_ITSELF_FRAMES = 3  # frames that a busy test machine may be late with by itself
LINE = Line("mulaw", 8_000)
STATUS = gateway_pb2.ConverseRequest(control=gateway_pb2.Control(status=gateway_pb2.Control.StatusRequest()))


async def test_two_seconds_after_a_stall_of_two_no_frame_is_late_and_what_was_skipped_is_told(
    own_cluster: LocalCluster,
) -> None:
    async with grpc.aio.insecure_channel(own_cluster.address()) as channel:
        calls = [asyncio.create_task(_talk(channel, seconds=8.0, status_at_s=6.0)) for _ in range(2)]
        await asyncio.sleep(2.0)
        own_cluster.signal("lm-0", signal.SIGSTOP)
        await asyncio.sleep(2.0)
        own_cluster.signal("lm-0", signal.SIGCONT)
        for messages in await asyncio.gather(*calls):
            _check(messages)


def _check(messages: list[gateway_pb2.ConverseResponse]) -> None:
    events = [message.event for message in messages if message.HasField("event")]
    recovered = next(event.counters for event in events if event.kind == gateway_pb2.Event.KIND_STATUS)
    end = messages[-1].ended.counters
    assert recovered.frames_late > 0, "the stall was not felt"
    # The two seconds that follow are 25 frames; a session that has not recovered is late with all of them.
    assert end.frames_late - recovered.frames_late <= BY_ITSELF_FRAMES, "still late two seconds after the stall"
    told = sum(event.frames for event in events if event.kind == gateway_pb2.Event.KIND_DROPPED)
    assert told == end.frames_dropped > 0
    assert end.frames_in + end.frames_filled - end.frames_dropped == end.frames_out + end.reply_frames_dropped


async def _talk(channel: grpc.aio.Channel, seconds: float, status_at_s: float) -> list[gateway_pb2.ConverseResponse]:
    """A paced call that asks for its counters once; everything that came back."""
    stream = await open_call(channel, LINE)
    listener = asyncio.create_task(_listen(stream))
    start_s = time.monotonic()
    for index, packet in enumerate(speech(LINE, seconds)):
        await asyncio.sleep(max(0.0, start_s + index * PACKET_S - time.monotonic()))
        await stream.write(gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=packet)))
        if index == round(status_at_s / PACKET_S):
            await stream.write(STATUS)
    await stream.done_writing()
    return await listener


async def _listen(stream: grpc.aio.StreamStreamCall) -> list[gateway_pb2.ConverseResponse]:
    messages = []
    async with asyncio.timeout(30):
        while (message := await stream.read()) is not grpc.aio.EOF:
            messages.append(message)
    return messages
