"""A conversation over gRPC, the gateway's main contract: samples as they are, nothing compressed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import grpc

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.clients.cli import converse
from moshi_cluster.clients.cli.call_status import call_error
from moshi_cluster.clients.cli.converse import connect
from moshi_cluster.clients.cli.errors import CallLost
from moshi_cluster.clients.cli.recording import S16Samples
from moshi_cluster.clients.cli.resuming import HeardReply, Resume, resumed_start, resumed_words
from moshi_cluster.clients.cli.talk.connection import (
    STATS_INTERVAL_S,
    CallOptions,
    Heard,
    Notice,
    Ready,
    Stats,
    Voice,
    Words,
)
from moshi_cluster.clients.cli.wire_formats import from_wire, to_wire
from moshi_cluster.v1 import common_pb2, gateway_pb2, gateway_pb2_grpc

_REPLY_PACKET_MS = 40  # what browsers get too
_FORMAT = gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_PCM_S16LE, sample_rate_hz=MODEL_RATE_HZ)
_SHUTDOWN = gateway_pb2.Ended.REASON_SHUTDOWN
_STATUS = gateway_pb2.ConverseRequest(control=gateway_pb2.Control(status=gateway_pb2.Control.StatusRequest()))
# What writing raises once the call is over; reading says why it is.
_CALL_IS_OVER = (grpc.aio.AioRpcError, asyncio.InvalidStateError)


@asynccontextmanager
async def grpc_connection(target: str, options: CallOptions) -> AsyncIterator[GrpcConnection]:
    """A call to the gateway at host:port; leaving hangs up at once. Raises CallError, BadInput for a bad ca_file."""
    async with options.access.grpc_channel(target) as channel:
        await connect(channel, target, options.access)
        stream = gateway_pb2_grpc.GatewayStub(channel).Converse(metadata=options.access.headers())
        try:
            yield GrpcConnection(stream, _start(options))
        finally:
            stream.cancel()


class GrpcConnection:
    """A conversation over one gRPC stream."""

    def __init__(self, stream: grpc.aio.StreamStreamCall, start: gateway_pb2.Start) -> None:
        self._stream = stream
        self._start = start
        self._reply = HeardReply()
        self._closing = False
        self._writing = asyncio.Lock()  # grpc takes one message at a time

    @property
    def resume(self) -> Resume | None:
        """See Connection."""
        return self._reply.resume

    async def say(self, samples: S16Samples) -> None:
        """See Connection."""
        await self._write(gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=to_wire(samples, "s16le"))))

    async def hang_up(self) -> None:
        """See Connection."""
        self._closing = True
        async with self._writing:
            with contextlib.suppress(*_CALL_IS_OVER):
                await self._stream.done_writing()

    async def hear(self) -> AsyncGenerator[Heard, None]:
        """See Connection."""
        await self._write(gateway_pb2.ConverseRequest(start=self._start))
        ended = False
        asking = asyncio.create_task(self._ask_for_stats())
        try:
            while (message := await self._read()) is not None:
                ended = ended or message.HasField("ended")
                self._note(message)
                for heard in _heard(message):
                    yield heard
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        if not ended:
            raise CallLost("the gateway closed the call without saying that it ended")

    def _note(self, message: gateway_pb2.ConverseResponse) -> None:
        """Raises CallLost when the gateway, and not the caller, has ended the call."""
        if message.HasField("started"):
            self._reply.begin(message.started)
        elif message.HasField("audio"):
            self._reply.audio(message.audio)
        elif message.HasField("ended") and message.ended.reason == _SHUTDOWN and not self._closing:
            raise CallLost("the gateway stops")

    async def _ask_for_stats(self) -> None:
        while not self._closing:
            await asyncio.sleep(STATS_INTERVAL_S)
            await self._write(_STATUS)

    async def _read(self) -> gateway_pb2.ConverseResponse | None:
        """The next message, None after the last."""
        try:
            async with asyncio.timeout(converse.REPLY_TIMEOUT_S):
                message = await self._stream.read()
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from error
        except TimeoutError as error:
            raise CallLost(f"the gateway was silent for {converse.REPLY_TIMEOUT_S:g} s") from error
        return None if message is grpc.aio.EOF else message

    async def _write(self, request: gateway_pb2.ConverseRequest) -> None:
        async with self._writing:
            if not self._closing:
                try:
                    async with asyncio.timeout(converse.REPLY_TIMEOUT_S):
                        await self._stream.write(request)
                except _CALL_IS_OVER:
                    return
                except TimeoutError as error:
                    raise CallLost(f"the gateway took nothing for {converse.REPLY_TIMEOUT_S:g} s") from error


def _start(options: CallOptions) -> gateway_pb2.Start:
    sampling = common_pb2.Sampling(seed=options.seed)
    if options.greedy:
        sampling.text_temperature = sampling.audio_temperature = 0.0
    start = gateway_pb2.Start(
        input_format=_FORMAT, reply_packet_ms=_REPLY_PACKET_MS, sampling=sampling, loopback=options.loopback
    )
    return resumed_start(start, options.resume)


def _heard(message: gateway_pb2.ConverseResponse) -> list[Heard]:
    match message.WhichOneof("message"):
        case "started":
            left = message.started.resumption
            words = resumed_words(left.remembered_frames, left.lost_frames)
            notices = [Notice(words)] if message.started.HasField("resumption") else []
            return [Ready(message.started.session_id), *notices]
        case "audio":
            return [Voice(from_wire(message.audio.data, "s16le"))]
        case "text":
            return [Words(message.text.piece)]
        case "event" if message.event.kind == gateway_pb2.Event.KIND_STATUS:
            latency_ms = {field.name.removesuffix("_us"): us / 1000 for field, us in message.event.hops.ListFields()}
            return [Stats(latency_ms, _counters(message.event.counters))]
        case "event":
            name = gateway_pb2.Event.Kind.Name(message.event.kind).removeprefix("KIND_").lower().replace("_", " ")
            return [Notice(" ".join(filter(None, [name, message.event.detail])))]
        case "ended":
            return [Stats({}, _counters(message.ended.counters))]
        case _:
            return []


def _counters(counters: gateway_pb2.Counters) -> dict[str, int]:
    return {field.name: int(value) for field, value in counters.ListFields()}
