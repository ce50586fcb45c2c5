"""A caller of the public contract, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from moshi_cluster.v1 import gateway_pb2, gateway_pb2_grpc
from tests.services.fake_workers import FRAME_SAMPLES
from tests.services.gateway.cluster import LEVELS, Cluster
from tests.services.in_process import PATIENCE_S, read, status_of

F32_24K = gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_PCM_F32LE, sample_rate_hz=24_000)
Kind = gateway_pb2.Event.Kind


@dataclass
class Heard:
    """Everything that a caller was sent."""

    messages: list[gateway_pb2.ConverseResponse] = field(default_factory=list)

    @property
    def started(self) -> gateway_pb2.Started:
        return self.messages[0].started

    @property
    def audio(self) -> bytes:
        return b"".join(packet.data for packet in self.packets)

    @property
    def packets(self) -> list[gateway_pb2.ReplyAudio]:
        return [message.audio for message in self.messages if message.HasField("audio")]

    @property
    def levels(self) -> list[int]:
        """The level of each reply frame of a float call at 24 kHz."""
        frames = np.frombuffer(self.audio, "<f4").reshape(-1, FRAME_SAMPLES)
        assert (frames == frames[:, :1]).all(), "a reply frame is not of one piece"
        return [round(float(frame[0]) * LEVELS) for frame in frames]

    @property
    def texts(self) -> list[tuple[int, str]]:
        return [(m.text.frame_index, m.text.piece) for m in self.messages if m.HasField("text")]

    def events(self, kind: int) -> list[gateway_pb2.Event]:
        return [m.event for m in self.messages if m.HasField("event") and m.event.kind == kind]

    @property
    def ended(self) -> gateway_pb2.Ended:
        assert self.messages[-1].HasField("ended"), self.messages[-1]
        return self.messages[-1].ended

    @property
    def counters(self) -> gateway_pb2.Counters:
        return self.ended.counters


class Caller:
    """One call. What is sent goes out at once; what comes back is kept in `heard`."""

    def __init__(self, stub: gateway_pb2_grpc.GatewayStub, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self.call = stub.Converse(metadata=metadata)
        self.heard = Heard()

    async def start(self, **fields: Any) -> gateway_pb2.Started:
        """Starts the call and waits until it is up."""
        await self.send_start(**fields)
        message = await self.next()
        assert message.HasField("started")
        return message.started

    async def send_start(self, **fields: Any) -> None:
        await self.call.write(gateway_pb2.ConverseRequest(start=start(**fields)))

    async def say(self, data: bytes) -> None:
        await self.call.write(gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=data)))

    async def say_levels(self, levels: Iterable[int]) -> None:
        """One packet a frame."""
        for level in levels:
            await self.say(frame(level))

    async def control(self, **control: Any) -> None:
        await self.call.write(gateway_pb2.ConverseRequest(control=gateway_pb2.Control(**control)))

    async def next(self) -> gateway_pb2.ConverseResponse:
        message = await read(self.call)
        self.heard.messages.append(message)
        return message

    async def until(self, field_name: str, kind: int | None = None) -> gateway_pb2.ConverseResponse:
        """Reads on to the next message of this field, or event of this kind."""
        while True:
            message = await self.next()
            if message.HasField(field_name) and kind in (None, message.event.kind):
                return message

    async def answered(self, frames: int) -> None:
        """Reads on until this many packets have come in all."""
        while len(self.heard.packets) < frames:
            await self.next()

    async def hang_up(self) -> Heard:
        """Half-closes and reads to the end. Raises AioRpcError when that is not OK."""
        await self.call.done_writing()
        return await self.rest()

    async def rest(self) -> Heard:
        async with asyncio.timeout(PATIENCE_S):
            while (message := await self.call.read()) is not grpc.aio.EOF:
                self.heard.messages.append(message)
        return self.heard

    async def status(self) -> tuple[grpc.StatusCode, str]:
        """How the call ends; what comes before is kept."""
        try:
            await self.rest()
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        return grpc.StatusCode.OK, ""


def start(**fields: Any) -> gateway_pb2.Start:
    return gateway_pb2.Start(**{"input_format": F32_24K, **fields})


def frame(level: int) -> bytes:
    """One frame of float samples at 24 kHz."""
    return np.full(FRAME_SAMPLES, level / LEVELS, "<f4").tobytes()


START = gateway_pb2.ConverseRequest(start=start())
SAID = [(7 * index) % LEVELS for index in range(24)]
"""Levels of a caller who says something else every frame."""


def balanced(counters: gateway_pb2.Counters) -> bool:
    stepped = counters.frames_in + counters.frames_filled - counters.frames_dropped
    return stepped == counters.frames_out + counters.reply_frames_dropped


async def status_after(all_of_it: Cluster, *requests: gateway_pb2.ConverseRequest) -> tuple[grpc.StatusCode, str]:
    """How a call ends that sends these messages and, when there are none, hangs up."""
    call = all_of_it.stub.Converse()
    for request in requests:
        await call.write(request)
    if not requests:
        await call.done_writing()
    return await status_of(call)
