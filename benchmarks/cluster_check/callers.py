"""Callers of a cluster check, run by a Job within the cluster: `python -m benchmarks.cluster_check.callers`.

Runs in the gateway's image, beside its code: grpc, the contract, and the two files that are mounted, nothing else.
Some callers talk for long; others begin all the time, each on a connection of its own, and say little. Who is cut off
or asked to go elsewhere comes back at once with the resume token, to the same Service. Prints a JSON object a line:
`up` once the long calls have begun, at the end `talks`, what became of each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc

from benchmarks.online.playback import SimulatedPlayback
from moshi_cluster.v1 import gateway_pb2, gateway_pb2_grpc

PACKET_S = 0.04
RATE_HZ = 8000
OPEN_PATIENCE_S = 15.0  # longer than a gateway takes to refuse
RESUME_PATIENCE_S, RESUME_PAUSE_S = 20.0, 0.1
END_PATIENCE_S = 20.0
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
_OVER = (grpc.aio.AioRpcError, asyncio.InvalidStateError)


@dataclass
class Talk:
    """What became of one caller."""

    is_short: bool
    opened_s: float  # since the program began
    setup_s: float = 0.0  # until `started` came
    refused: str = ""  # why the call never began
    lost: str = ""  # why it ended before its caller meant it to
    moved: int = 0
    resumed: int = 0
    gap_s: float = 0.0  # the longest silence that a telephone plays whose buffer holds 100 ms
    cuts: list[str] = field(default_factory=list)  # when and why each of its calls ended early


class Caller:
    """One caller, with as many calls as it takes."""

    def __init__(self, arguments: argparse.Namespace, talk: Talk, seconds: float) -> None:
        self.talk = talk
        self.has_started = asyncio.Event()
        self._arguments = arguments
        self._seconds, self._until_s = seconds, math.inf  # from when the first call has started
        self._playback = SimulatedPlayback(0.1, 0.2)
        self._noise = random.Random(round(1000 * talk.opened_s))
        self._token, self._heard_samples = "", 0
        self._go_away = False

    async def hold(self) -> Talk:
        """Talks to the end, whatever happens."""
        try:
            why = await self._call()
            if not self._token:
                self.talk.refused = why
            elif why:
                self.talk.lost = await self._go_on(why)
        finally:
            self.has_started.set()
        self.talk.gap_s = max((silence.length_s for silence in self._playback.silences), default=0.0)
        return self.talk

    async def _go_on(self, why: str) -> str:
        """Comes back until the conversation is over. Returns why it is lost."""
        patience_s = time.monotonic() + RESUME_PATIENCE_S
        while why and time.monotonic() < patience_s:
            before = self._token
            why = await self._call()
            if self._token != before:
                self.talk.resumed += 1
                patience_s = time.monotonic() + RESUME_PATIENCE_S
            elif why:
                await asyncio.sleep(RESUME_PAUSE_S)
        return why

    async def _call(self) -> str:
        """Returns why the call was cut; empty when it was over."""
        if why := await self._try_call():
            self.talk.cuts.append(f"{_now_s():.1f} s {why}")
        return why

    async def _try_call(self) -> str:
        self._go_away = False
        left_s = max(PACKET_S, min(self._seconds, self._until_s - time.monotonic()))
        try:
            async with asyncio.timeout(left_s + OPEN_PATIENCE_S + END_PATIENCE_S):
                async with grpc.aio.insecure_channel(self._arguments.target, _OPTIONS) as channel:
                    return await self._converse(channel, left_s)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        except TimeoutError:
            return "no end within the time"

    async def _converse(self, channel: grpc.aio.Channel, seconds: float) -> str:
        token = os.environ.get("MOSHI_TOKEN")
        metadata = [("authorization", f"Bearer {token}")] if token else []
        stream: Any = gateway_pb2_grpc.GatewayStub(channel).Converse(metadata=metadata)
        sender: asyncio.Task[None] | None = None
        ended = False
        try:
            await stream.write(gateway_pb2.ConverseRequest(start=self._start()))
            while (message := await stream.read()) is not grpc.aio.EOF:
                if message.WhichOneof("message") == "started":
                    self._begin(message.started)
                    sender = asyncio.create_task(self._speak(stream, seconds))
                ended |= self._listen(message)
                if self._go_away:
                    return "asked to go elsewhere"
            return "" if ended else "cut off"
        finally:
            stream.cancel()
            if sender is not None:
                sender.cancel()
                await asyncio.wait([sender])

    def _start(self) -> gateway_pb2.Start:
        form = gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_MULAW, sample_rate_hz=RATE_HZ)
        start = gateway_pb2.Start(input_format=form, reply_packet_ms=20, call_label="cluster-check")
        if self._token:
            start.resume_token, start.resume_heard_frames = self._token, self._heard_samples // (RATE_HZ * 80 // 1000)
        return start

    def _begin(self, started: gateway_pb2.Started) -> None:
        if not self._token:
            self.talk.setup_s = _now_s() - self.talk.opened_s
            self._until_s = time.monotonic() + self._seconds
        self._token = started.resume_token
        self._heard_samples = started.resumption.remembered_frames * (RATE_HZ * 80 // 1000)
        self.has_started.set()

    def _listen(self, message: gateway_pb2.ConverseResponse) -> bool:
        """Whether the call ended as its caller meant it to."""
        kind = message.WhichOneof("message")
        if kind == "audio":
            self._heard_samples += len(message.audio.data)
            self._playback.arrive(time.monotonic(), len(message.audio.data) / RATE_HZ)
        elif kind == "event":
            self.talk.moved += message.event.kind == gateway_pb2.Event.KIND_MOVED
            leaves = message.event.kind == gateway_pb2.Event.KIND_GO_AWAY
            self._go_away |= leaves and message.event.detail.startswith("the gateway")
        return kind == "ended" and message.ended.reason == gateway_pb2.Ended.REASON_HANGUP

    async def _speak(self, stream: Any, seconds: float) -> None:
        """A murmur, in packets on an absolute schedule."""
        begin_s = time.monotonic()
        try:
            for packet in range(max(1, round(seconds / PACKET_S))):
                await asyncio.sleep(begin_s + packet * PACKET_S - time.monotonic())
                data = bytes(self._noise.choices(range(0x60, 0x80), k=round(PACKET_S * RATE_HZ)))
                await stream.write(gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=data)))
            await stream.done_writing()
        except _OVER:  # reading says why
            return


async def main(arguments: argparse.Namespace) -> None:
    """Everybody talks; prints what is known of it."""
    long = [Caller(arguments, Talk(False, _now_s()), arguments.seconds) for _ in range(arguments.calls)]
    talks = [asyncio.create_task(caller.hold()) for caller in long]
    await asyncio.wait_for(asyncio.gather(*(caller.has_started.wait() for caller in long)), 2 * OPEN_PATIENCE_S)
    print(json.dumps({"up": sum(not task.done() for task in talks)}), flush=True)
    everybody = list(talks)
    while not all(task.done() for task in talks):
        if arguments.every > 0:
            short = Caller(arguments, Talk(True, _now_s()), arguments.short_seconds)
            everybody.append(asyncio.create_task(short.hold()))
        await asyncio.sleep(arguments.every or 0.25)
    print(json.dumps({"talks": [asdict(talk) for talk in await asyncio.gather(*everybody)]}), flush=True)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, which the check writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster_check.callers")
    parser.add_argument("--target", required=True, help="host:port")
    parser.add_argument("--calls", type=int, default=8, help="long ones")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a long one")
    parser.add_argument("--every", type=float, default=0.25, help="seconds between short ones; 0: none")
    parser.add_argument("--short-seconds", type=float, default=0.5)
    return parser.parse_args(argv)


_BEGIN_S = time.monotonic()


def _now_s() -> float:
    return time.monotonic() - _BEGIN_S


if __name__ == "__main__":
    asyncio.run(main(parse()))
