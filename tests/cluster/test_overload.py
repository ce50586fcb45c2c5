"""A worker that stands still for two seconds."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.v1 import gateway_pb2
from tests.cluster.callers import PACKET_S, Line, open_call, speech, until

pytestmark = pytest.mark.cluster

CALLS = 2
LINE = Line("mulaw", 8_000)
STATUS = gateway_pb2.ConverseRequest(control=gateway_pb2.Control(status=gateway_pb2.Control.StatusRequest()))
STATUS_EVERY_PACKETS, STATUSES = 5, 20  # a frame is four packets: at every place of one in turn


@pytest.fixture(scope="module")
def cluster(checkpoint: Path) -> Iterator[LocalCluster]:
    """With the gateway's own patience: what waits for too long is dropped."""
    with LocalCluster(Layout(str(checkpoint), slots=CALLS)) as running:
        yield running


class Talking:
    """A caller who says the demo utterance over and over in real time and keeps asking how the call stands."""

    def __init__(self, stream: grpc.aio.StreamStreamCall) -> None:
        self.messages: list[gateway_pb2.ConverseResponse] = []
        self._stream = stream
        self._hung_up = False
        self._tasks = [asyncio.create_task(self._speak()), asyncio.create_task(self._listen())]

    async def hang_up(self) -> None:
        """Hears the answer out."""
        self._hung_up = True
        await asyncio.gather(*self._tasks)

    @property
    def unanswered_frames(self) -> list[int]:
        """At every status so far, the frames that were being worked on or waited."""
        states = (event.counters for event in self.events(gateway_pb2.Event.KIND_STATUS))
        return [
            state.frames_in + state.frames_filled - state.frames_dropped - state.frames_out - state.reply_frames_dropped
            for state in states
        ]

    async def has_asked(self, times: int) -> bool:
        return len(self.unanswered_frames) >= times

    async def has_recovered(self, since: int, least_frames: int) -> bool:
        """Whether at a status after so many, no more frames were unanswered than `least_frames`."""
        return any(frames <= least_frames for frames in self.unanswered_frames[since:])

    def events(self, kind: int) -> list[gateway_pb2.Event]:
        return [m.event for m in self.messages if m.HasField("event") and m.event.kind == kind]

    async def _speak(self) -> None:
        start_s = time.monotonic()
        for index, packet in enumerate(itertools.cycle(speech(LINE, 8.0))):
            if self._hung_up:
                break
            await asyncio.sleep(max(0.0, start_s + index * PACKET_S - time.monotonic()))
            await self._stream.write(gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=packet)))
            if index % STATUS_EVERY_PACKETS == 0:
                await self._stream.write(STATUS)
        await self._stream.done_writing()

    async def _listen(self) -> None:
        while (message := await self._stream.read()) is not grpc.aio.EOF:
            self.messages.append(message)


async def test_after_a_stall_of_two_seconds_answers_come_as_soon_as_before_and_what_was_skipped_is_told(
    cluster: LocalCluster,
) -> None:
    async with grpc.aio.insecure_channel(cluster.address()) as channel:
        calls = [Talking(await open_call(channel, LINE)) for _ in range(CALLS)]
        for call in calls:
            await until(partial(call.has_asked, STATUSES))
        before = [min(call.unanswered_frames) for call in calls]
        cluster.signal("lm-0", signal.SIGSTOP)
        await asyncio.sleep(2.0)
        cluster.signal("lm-0", signal.SIGCONT)
        for call, least_frames in zip(calls, before, strict=True):
            # A call that has not recovered never comes so near again, however long it lasts.
            await until(partial(call.has_recovered, len(call.unanswered_frames), least_frames))
            await call.hang_up()
            _check(call)


def _check(call: Talking) -> None:
    end = call.messages[-1].ended.counters
    assert end.frames_late > 0, "the stall was not felt"
    told = sum(event.frames for event in call.events(gateway_pb2.Event.KIND_DROPPED))
    assert told == end.frames_dropped > 0
    assert end.frames_in + end.frames_filled - end.frames_dropped == end.frames_out + end.reply_frames_dropped
