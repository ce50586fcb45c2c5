"""A call from Python: a recording is spoken in real time, Moshi's text and voice come back.

    python converse.py HOST:PORT RECORDING.wav REPLY.wav

Needs grpcio, googleapis-common-protos and the code generated from protos/.
"""

from __future__ import annotations

import asyncio
import sys
import wave
from collections.abc import AsyncIterator

import grpc
from google.rpc import error_details_pb2, status_pb2

from moshi_cluster.v1 import gateway_pb2 as pb
from moshi_cluster.v1 import gateway_pb2_grpc

PACKET_S = 0.02
TRIES = 5
# A peer that has died without a word is noticed, and no router between forgets a connection that is silent.
KEEPALIVE = [("grpc.keepalive_time_ms", 20_000), ("grpc.keepalive_timeout_ms", 10_000)]


async def main(target: str, recording: str, reply: str) -> None:
    with wave.open(recording) as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            sys.exit(f"{recording}: must be mono, with samples of 16 bit")
        rate_hz, voice = file.getframerate(), file.readframes(file.getnframes())
    async with grpc.aio.insecure_channel(target, KEEPALIVE) as channel:
        audio = await patient_call(gateway_pb2_grpc.GatewayStub(channel), voice, rate_hz)
    with wave.open(reply, "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(audio)


async def patient_call(gateway: gateway_pb2_grpc.GatewayStub, voice: bytes, rate_hz: int) -> bytes:
    """Calls again, after as long as the gateway asks for, when it says that this may help."""
    for tries_left in reversed(range(TRIES)):
        try:
            return await call(gateway, voice, rate_hz)
        except grpc.aio.AioRpcError as error:
            delay_s = retry_delay_s(error)
            if delay_s is None or not tries_left:
                sys.exit(f"{error.code().name}: {error.details()}")
            print(f"{error.details()}: trying again in {delay_s:g} s", file=sys.stderr)
            await asyncio.sleep(delay_s)
    raise AssertionError("the last try returns or exits")


async def call(gateway: gateway_pb2_grpc.GatewayStub, voice: bytes, rate_hz: int) -> bytes:
    """One call, from `start` to `ended`; the reply's samples, in the format of the recording."""
    started, reply = asyncio.Event(), bytearray()
    # No call lasts for ever, whatever happens to the network.
    deadline_s = len(voice) / (2 * rate_hz) + 30
    async for message in gateway.Converse(speak(voice, rate_hz, started), timeout=deadline_s):
        match message.WhichOneof("message"):
            case "started":
                print(f"call {message.started.session_id}", file=sys.stderr)
                started.set()
            case "text":
                print(message.text.piece, end="", flush=True)
            case "audio":
                reply += message.audio.data
            case "event":  # silence filled in, frames dropped, the gateway about to stop, …
                kind = pb.Event.Kind.Name(message.event.kind)
                print(f"[{kind} {message.event.frames} {message.event.detail}]", file=sys.stderr)
            case "ended":
                print(f"\nended after {message.ended.counters.frames_out} frames", file=sys.stderr)
    return bytes(reply)


async def speak(voice: bytes, rate_hz: int, started: asyncio.Event) -> AsyncIterator[pb.ConverseRequest]:
    """`start`, then the voice; returning hangs up, and what is on its way is still answered."""
    recorded = pb.AudioFormat(encoding=pb.ENCODING_PCM_S16LE, sample_rate_hz=rate_hz)
    yield pb.ConverseRequest(start=pb.Start(input_format=recorded))
    await started.wait()
    clock = asyncio.get_running_loop().time
    begin_s, packet_bytes = clock(), 2 * round(rate_hz * PACKET_S)
    for index, first in enumerate(range(0, len(voice), packet_bytes)):
        # Each packet has a time of its own: one that is late does not delay those behind it.
        await asyncio.sleep(begin_s + index * PACKET_S - clock())
        yield pb.ConverseRequest(audio=pb.Audio(data=voice[first : first + packet_bytes]))


def retry_delay_s(error: grpc.aio.AioRpcError) -> float | None:
    """The gateway's google.rpc.RetryInfo; None where calling again is no help."""
    trailers = dict(error.trailing_metadata() or ())
    for detail in status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b"")).details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToMilliseconds()) / 1000
    return None


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
