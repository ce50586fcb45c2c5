"""Conversation of a simulated caller: one call, and further ones that go on with it when its gateway is gone."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import numpy as np

from benchmarks.online.caller import Caller
from benchmarks.online.impairments import send_plan
from benchmarks.online.matching import FrameMatcher
from benchmarks.online.playback import SimulatedPlayback
from benchmarks.online.record import OK, CallRecord
from benchmarks.online.scenarios import PlannedCall
from benchmarks.online.speech import LineFormat
from benchmarks.survive.gateways import Gateways
from benchmarks.survive.heard import HeardCall
from moshi_cluster.audio.frame import FRAME_S
from moshi_cluster.cluster.recorded_callers import read
from moshi_cluster.services.common.rpc import DIRECT
from moshi_cluster.v1 import common_pb2, gateway_pb2

LINE = LineFormat("mulaw", 8_000, packet_ms=20, reply_packet_ms=20)
PLAYBACK_DELAY_S, PLAYBACK_MOST_S = 0.1, 0.2  # a telephone's small jitter buffer
_TEMPERATURES = 0.7, 0.8  # of text and sound, Moshi's
_RESUME_PATIENCE_S, _RESUME_PAUSE_S = 10.0, 0.1
_PACKET_S = LINE.packet_ms / 1000
_CHANNEL_OPTIONS = (*DIRECT, ("grpc.use_local_subchannel_pool", 1))  # a connection for each call


@dataclass(frozen=True)
class Voice:
    """Who a caller is: the same voice says the same and draws the same tokens in every run."""

    number: int
    messages: Sequence[bytes]  # packets as serialised requests, said over and over

    @property
    def greedy(self) -> bool:
        """Every second one's tokens are the likeliest ones; the others' are drawn."""
        return self.number % 2 == 0

    def start(self, jitter_allowance_ms: int) -> gateway_pb2.Start:
        """The first message of a call."""
        sampling = common_pb2.Sampling(seed=1 + self.number)
        if self.greedy:
            sampling.text_temperature = sampling.audio_temperature = 0
        else:  # the demo model's own temperatures are 0
            sampling.text_temperature, sampling.audio_temperature = _TEMPERATURES
        return gateway_pb2.Start(
            input_format=LINE.message(),
            reply_packet_ms=LINE.reply_packet_ms,
            sampling=sampling,
            jitter_allowance_ms=jitter_allowance_ms,
            call_label=f"survive-{self.number}",
        )


def voices(count: int) -> list[Voice]:
    """The repository's recorded callers in turn, later ones from the middle of theirs."""
    recordings = [[_message(packet) for packet in caller.packets(LINE.packet_ms)[:-1]] for caller in read()]
    return [
        Voice(number, _from(recordings[number % len(recordings)], number // len(recordings))) for number in range(count)
    ]


class Conversation:
    """A caller who talks for `seconds` unless they hang up before, whatever happens to the cluster."""

    def __init__(
        self, voice: Voice, gateways: Gateways, seconds: float, jitter_allowance_ms: int, resumes: bool
    ) -> None:
        """resumes: a call that is lost is taken up again."""
        self.voice = voice
        self.calls: list[HeardCall] = []
        self.is_over = False
        self.playback = SimulatedPlayback(PLAYBACK_DELAY_S, PLAYBACK_MOST_S)
        self._gateways = gateways
        self._seconds = seconds
        self._jitter_allowance_ms = jitter_allowance_ms
        self._resumes = resumes
        self._hung_up = False
        self._caller: Caller | None = None
        self._connection: asyncio.Task[None] | None = None

    @property
    def first(self) -> HeardCall:
        """The call that began it."""
        return self.calls[0]

    @property
    def refused(self) -> bool:
        """Whether it never came up."""
        return self.is_over and self.first.record.started_s is None

    @property
    def lost(self) -> bool:
        """Whether it ended before the caller meant it to."""
        return self.is_over and not self.refused and self.calls[-1].record.outcome != OK

    @property
    def opened_s(self) -> float:
        """When the caller called."""
        return self.first.record.opened_s

    @property
    def ended_s(self) -> float:
        """When it was over; infinite before."""
        return self.calls[-1].record.ended_s if self.is_over else math.inf

    def hang_up(self) -> None:
        """Says nothing more; the conversation ends when everything is answered."""
        self._hung_up = True
        if self._caller is not None:
            self._caller.hang_up()

    async def hold(self) -> None:
        """Talks to the end; however that comes, the calls' records say so."""
        begin_s, address = time.monotonic(), self._gateways.next()
        try:
            await self._call(address, begin_s)
            if not self.calls[-1].resume_token and not self._gateways.in_rotation(address):
                self.calls.clear()  # it was lost while the caller was being sent there
                await self._call(address := self._gateways.other(address), begin_s)
            while self._resumes and self.calls[-1].is_cut and not self._hung_up:
                address = await self._resume(self._gateways.other(address), begin_s)
        finally:
            self.is_over = True

    async def _resume(self, address: str, begin_s: float) -> str:
        """Goes on with the call that was cut, to its end. Returns where it was possible at last."""
        until_s = time.monotonic() + _RESUME_PATIENCE_S
        while True:
            await self._call(address, begin_s, self.calls[-1])
            if self.calls[-1].resume_token or self._hung_up or time.monotonic() > until_s:
                return address
            self.calls.pop()
            await asyncio.sleep(_RESUME_PAUSE_S)
            address = self._gateways.other(address)

    async def _call(self, address: str, begin_s: float, cut: HeardCall | None = None) -> None:
        self._caller = self._prepare(time.monotonic() - begin_s, cut)
        async with grpc.aio.insecure_channel(address, _CHANNEL_OPTIONS) as channel:
            self._connection = asyncio.create_task(self._caller.call(channel))
            try:
                await asyncio.wait([self._connection])
            finally:
                self._connection.cancel()
                await asyncio.wait([self._connection])
        if not self._connection.cancelled():
            self._connection.result()

    def _prepare(self, after_s: float, cut: HeardCall | None) -> Caller:
        """A call that says what is left to say `after_s` after the conversation began."""
        spoken = round(after_s / _PACKET_S)
        packets = max(1, round(self._seconds / _PACKET_S) - spoken)
        plan = PlannedCall(self.voice.number, 0.0, round(packets * _PACKET_S / FRAME_S))
        record = CallRecord(plan, LINE, FrameMatcher(LINE.rate_hz, LINE.packet_samples), self.playback)
        start = self.voice.start(self._jitter_allowance_ms)
        if cut is not None:
            start.resume_token, start.resume_heard_frames = cut.resume_token, cut.heard_frames
        self.calls.append(HeardCall(record))
        sends = send_plan(packets, _PACKET_S, (), self.voice.number, np.random.default_rng(0))
        return Caller(record, start, self.voice.messages, spoken, sends, self._listen)

    def _listen(self, message: gateway_pb2.ConverseResponse) -> None:
        self.calls[-1].listen(message)
        if self._resumes and self.calls[-1].gateway_leaves and self._connection is not None:
            self._connection.cancel()


def _message(packet: bytes) -> bytes:
    return gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=packet)).SerializeToString()


def _from(messages: Sequence[bytes], turns: int) -> Sequence[bytes]:
    middle = len(messages) // 2 if turns % 2 else 0
    return [*messages[middle:], *messages[:middle]]
