"""Callers for whole-cluster tests, speaking only the public contract through the command-line client's own code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc

from moshi_cluster.clients.cli.converse import CallResult, CallScript, Listener, converse
from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE, Recording, read_wav
from moshi_cluster.clients.telephony.wire_formats import ENCODINGS, packets
from moshi_cluster.cluster.local_cluster import LocalCluster
from moshi_cluster.v1 import common_pb2, gateway_pb2, gateway_pb2_grpc, worker_pb2, worker_pb2_grpc

PACKET_S = 0.02
FRAME_S = 0.08
PATIENCE_S = 40.0  # less than the gateway's idle timeout
GREEDY = common_pb2.Sampling(text_temperature=0, audio_temperature=0, seed=1)


@dataclass(frozen=True)
class Line:
    """One caller's format."""

    format_name: str
    rate_hz: int

    @property
    def audio_format(self) -> gateway_pb2.AudioFormat:
        return gateway_pb2.AudioFormat(encoding=ENCODINGS[self.format_name], sample_rate_hz=self.rate_hz)

    @property
    def packet_samples(self) -> int:
        return round(self.rate_hz * PACKET_S)


def start(line: Line, **changes: object) -> gateway_pb2.Start:
    """A greedy call that never gets silence filled in, so that its frames can be counted."""
    return gateway_pb2.Start(
        **{"input_format": line.audio_format, "sampling": GREEDY, "jitter_allowance_ms": 2000} | changes
    )


def speech(line: Line, seconds: float, offset_s: float = 0.0) -> list[bytes]:
    """Packets of the demo utterance, from the offset on and around, in the line's format."""
    recording = _at_rate(read_wav(DEMO_UTTERANCE), line.rate_hz)
    samples = recording.samples
    first, count = round(offset_s * line.rate_hz), round(seconds * line.rate_hz)
    spoken = samples[:0]
    for index in range(first, first + count):
        spoken.append(samples[index % len(samples)])
    return packets(spoken, line.format_name, line.packet_samples)


async def call(target: str, line: Line, seconds: float, offset_s: float = 0.0, **changes: object) -> CallResult:
    """One whole call in real time."""
    packets = speech(line, seconds, offset_s)
    return await converse(target, CallScript(start(line, **changes), packets, PACKET_S), Listener())


async def capacity(channel: grpc.aio.Channel) -> worker_pb2.Capacity:
    """What a worker says of its slots now."""
    stream = worker_pb2_grpc.WorkerStub(channel).WatchCapacity(worker_pb2.WatchCapacityRequest())
    try:
        return await stream.read()
    finally:
        stream.cancel()


async def slots_used(cluster: LocalCluster, slots: int) -> bool:
    """Whether both workers hold exactly that many sessions."""
    for worker in ("codec-0", "lm-0"):
        async with grpc.aio.insecure_channel(cluster.address(worker)) as channel:
            if (await capacity(channel)).slots_used != slots:
                return False
    return True


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns once the condition holds. Raises TimeoutError when it takes too long for any machine."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not await condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {PATIENCE_S:g} s")
        await asyncio.sleep(0.02)


async def open_call(channel: grpc.aio.Channel, line: Line) -> grpc.aio.StreamStreamCall:
    """A call that is up and has said nothing yet."""
    stream = gateway_pb2_grpc.GatewayStub(channel).Converse()
    await stream.write(gateway_pb2.ConverseRequest(start=start(line)))
    assert (await stream.read()).HasField("started")
    return stream


def _at_rate(recording: Recording, rate_hz: int) -> Recording:
    """The nearest sample at another rate: good enough to be counted, not to be listened to."""
    count = len(recording.samples) * rate_hz // recording.rate_hz
    picked = (recording.samples[index * recording.rate_hz // rate_hz] for index in range(count))
    return Recording(type(recording.samples)("h", picked), rate_hz)
