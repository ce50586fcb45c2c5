"""A conversation over gRPC, the gateway's main contract: samples as they are, nothing compressed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from moshi_cluster.audio.frame import MODEL_RATE_HZ
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
from moshi_cluster.clients.telephony.call import Call, CallEvent, Lost
from moshi_cluster.clients.telephony.errors import CallLost
from moshi_cluster.clients.telephony.resuming import Resume, resumed_words
from moshi_cluster.clients.telephony.wire_formats import S16Samples, from_wire, to_wire
from moshi_cluster.v1 import common_pb2, gateway_pb2

_REPLY_PACKET_MS = 40  # what browsers get too
_FORMAT = gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_PCM_S16LE, sample_rate_hz=MODEL_RATE_HZ)
_SHUTDOWN = gateway_pb2.Ended.REASON_SHUTDOWN
_STATUS = gateway_pb2.Control(status=gateway_pb2.Control.StatusRequest())


@asynccontextmanager
async def grpc_connection(target: str, options: CallOptions, resume: bool = False) -> AsyncIterator[GrpcConnection]:
    """A call to the gateway at host:port; leaving hangs up at once. resume: goes on with it where it is lost."""
    async with Call(target, _start(options), options.access, resume) as call:
        yield GrpcConnection(call)


class GrpcConnection:
    """A conversation over gRPC."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._closing = False

    @property
    def resume(self) -> Resume | None:
        """See Connection."""
        return self._call.resume

    async def say(self, samples: S16Samples) -> None:
        """See Connection."""
        await self._call.say(to_wire(samples, "s16le"))

    async def hang_up(self) -> None:
        """See Connection."""
        self._closing = True
        await self._call.hang_up()

    async def hear(self) -> AsyncGenerator[Heard, None]:
        """See Connection. Raises CallError, BadInput for a bad ca_file."""
        asking = asyncio.create_task(self._ask_for_stats())
        try:
            async for event in self._call:
                if isinstance(event, gateway_pb2.Ended) and event.reason == _SHUTDOWN and not self._closing:
                    raise CallLost("the gateway stops")
                for heard in _heard(event):
                    yield heard
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _ask_for_stats(self) -> None:
        while True:
            await asyncio.sleep(STATS_INTERVAL_S)
            await self._call.control(_STATUS)


def _start(options: CallOptions) -> gateway_pb2.Start:
    sampling = common_pb2.Sampling(seed=options.seed)
    if options.greedy:
        sampling.text_temperature = sampling.audio_temperature = 0.0
    return gateway_pb2.Start(
        input_format=_FORMAT,
        reply_packet_ms=_REPLY_PACKET_MS,
        sampling=sampling,
        loopback=options.loopback,
        persona=options.persona,
    )


def _heard(event: CallEvent) -> list[Heard]:
    match event:
        case gateway_pb2.Started():
            left = event.resumption
            words = resumed_words(left.remembered_frames, left.lost_frames)
            notices = [Notice(words)] if event.HasField("resumption") else []
            return [Ready(event.session_id), *notices]
        case gateway_pb2.ReplyAudio():
            return [Voice(from_wire(event.data, "s16le"))]
        case gateway_pb2.Text():
            return [Words(event.piece)]
        case gateway_pb2.Event() if event.kind == gateway_pb2.Event.KIND_STATUS:
            latency_ms = {field.name.removesuffix("_us"): us / 1000 for field, us in event.hops.ListFields()}
            return [Stats(latency_ms, _counters(event.counters))]
        case gateway_pb2.Event():
            name = gateway_pb2.Event.Kind.Name(event.kind).removeprefix("KIND_").lower().replace("_", " ")
            return [Notice(" ".join(filter(None, [name, event.detail])))]
        case gateway_pb2.Ended():
            return [Stats({}, _counters(event.counters))]
        case Lost():
            return [Notice(f"lost: {event.error}")]


def _counters(counters: gateway_pb2.Counters) -> dict[str, int]:
    return {field.name: int(value) for field, value in counters.ListFields()}
