"""Fuzzer, `python -m benchmarks.fuzz`: random and mutated messages to a running gateway; every stream needs a status.

Exit status 1 when a stream got none in time, when the gateway's own code failed (UNKNOWN, INTERNAL), or when it does
not answer a health check afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.fuzz.messages import FuzzGenerator, Stream
from moshi_cluster.services.common.rpc import DIRECT

_METHOD = "/moshi_cluster.v1.Gateway/Converse"
_STREAM_TIMEOUT_S = 60.0
# gRPC itself may answer INTERNAL when a refusal crosses a message that is still being written (grpc/grpc issue 36066);
# that one is the client library's and names itself.
_LIBRARY_RACE = "Internal error from Core"


class Tally:
    """What came of the streams so far."""

    def __init__(self) -> None:
        self.messages = 0
        self.statuses: Counter[str] = Counter()
        self.failures: list[str] = []

    def add(self, stream: Stream, code: grpc.StatusCode | None, details: str) -> None:
        """Takes one stream's end; no code means that none came in time."""
        self.messages += len(stream.messages)
        name = "no status" if code is None else code.name
        if code == grpc.StatusCode.INTERNAL and _LIBRARY_RACE in details:
            name = "refused while writing"
        elif code in (None, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL):
            self.failures.append(f"{name}: {details}")
        self.statuses[name] += 1


async def fuzz(target: str, messages: int, seed: int, callers: int) -> Tally:
    """Sends at least `messages` messages in streams of random length, `callers` streams at a time."""
    tally = Tally()
    streams = _until(FuzzGenerator(seed), tally, messages)
    async with grpc.aio.insecure_channel(target, DIRECT) as channel:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(callers):
                tasks.create_task(_call_on(channel, streams, tally))
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            tally.failures.append("the gateway no longer serves")
    return tally


def _until(generator: FuzzGenerator, tally: Tally, messages: int) -> Iterator[Stream]:
    while tally.messages < messages:
        yield generator.stream()


async def _call_on(channel: grpc.aio.Channel, streams: Iterator[Stream], tally: Tally) -> None:
    for stream in streams:
        rpc = channel.stream_stream(_METHOD)()
        try:
            async with asyncio.timeout(_STREAM_TIMEOUT_S):
                await _speak(rpc, stream)
                tally.add(stream, await rpc.code(), await rpc.details() or "")
        except TimeoutError:
            rpc.cancel()
            tally.add(stream, None, f"nothing within {_STREAM_TIMEOUT_S:g} s")


async def _speak(rpc: grpc.aio.StreamStreamCall, stream: Stream) -> None:
    listener = asyncio.create_task(_drain(rpc))
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # refused before the last message
        for message in stream.messages:
            await rpc.write(message)
        if stream.hangs_up:
            await rpc.done_writing()
    if not stream.hangs_up:
        await asyncio.sleep(0.01)
        rpc.cancel()
    await listener


async def _drain(rpc: grpc.aio.StreamStreamCall) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        while await rpc.read() is not grpc.aio.EOF:
            pass


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="localhost:50051", help="gateway, host:port")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--callers", type=int, default=6, help="streams at a time")
    arguments = parser.parse_args()
    start_s = time.monotonic()
    tally = asyncio.run(fuzz(arguments.target, arguments.messages, arguments.seed, arguments.callers))
    print(f"{tally.messages} messages in {sum(tally.statuses.values())} streams, {time.monotonic() - start_s:.0f} s")
    for name, count in tally.statuses.most_common():
        print(f"  {count:7d}  {name}")
    for failure in tally.failures[:20]:
        print(f"failure: {failure}", file=sys.stderr)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
