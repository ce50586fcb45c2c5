"""Simulated caller: packets out on an absolute schedule, replies noted as they come.

Thirty-two callers with 20 ms packets are 3,200 messages a second on a core that the cluster needs too, so requests are
serialised before the run, and what is done per message is little.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

import grpc

from benchmarks.online.impairments import SendPlan
from benchmarks.online.matching import CountersThen
from benchmarks.online.record import NO_ANSWER, NOT_ENDED, OK, CallRecord
from moshi_cluster.clients.telephony.pacing import paced
from moshi_cluster.clients.telephony.resuming import Resume, resumed_start
from moshi_cluster.clients.telephony.stream import ConverseStream
from moshi_cluster.clients.telephony.wire_formats import ENCODINGS, samples_in
from moshi_cluster.v1 import gateway_pb2

_PATIENCE_S = 30.0  # that a call may take longer than it should
_STATUS = gateway_pb2.ConverseRequest(
    control=gateway_pb2.Control(status=gateway_pb2.Control.StatusRequest())
).SerializeToString()


class Outgoing(Protocol):
    """What a caller speaks into: a ConverseStream."""

    async def write(self, message: bytes) -> bool:
        """False once the call is over."""

    async def half_close(self) -> None:
        """Nothing more comes."""


class Caller:
    """One call from `start` to its status."""

    def __init__(
        self,
        record: CallRecord,
        start: gateway_pb2.Start,
        loop_messages: Sequence[bytes],
        first: int,
        plan: SendPlan,
        listener: Callable[[gateway_pb2.ConverseResponse], None] = lambda _message: None,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """loop_messages: serialised packets, said over and over from number `first` on. listener: told everything
        that comes. now_s, sleep: the clock.
        """
        self.record = record
        self._start = start
        self._messages = loop_messages
        self._first = first
        self.plan = plan
        self._listener = listener
        self._now_s = now_s
        self._sleep = sleep
        self._hang_up = False

    def going_on(self, record: CallRecord, plan: SendPlan) -> Caller:
        """A caller who says the rest in a call that goes on with this one. record: its own. plan: what is left."""
        lost = Resume(self.record.started.resume_token, self.record.heard_frames)
        start = resumed_start(self._start, lost)
        others = self._messages, self._first, plan, self._listener, self._now_s, self._sleep
        return Caller(record, start, *others)

    def hang_up(self) -> None:
        """Says nothing more; the call ends when everything is answered."""
        self._hang_up = True

    @property
    def is_up(self) -> bool:
        """Whether the call has started and not ended."""
        return self.record.started_s is not None and not self.record.is_over

    async def call(self, channel: grpc.aio.Channel, metadata: Sequence[tuple[str, str]] = ()) -> None:
        """Makes the call; however it ends, the record says so."""
        record = self.record
        length_s = self.plan.offsets_s[-1] if self.plan.offsets_s else 0.0
        record.opened_s = self._now_s()
        try:
            async with asyncio.timeout(length_s + _PATIENCE_S):
                await self._converse(channel, metadata)
                record.outcome = OK if record.counters is not None else NOT_ENDED
        except grpc.aio.AioRpcError as error:
            record.outcome, record.detail = error.code().name, error.details() or ""
        except TimeoutError:
            record.outcome = NO_ANSWER
        finally:
            record.ended_s = self._now_s()

    async def _converse(self, channel: grpc.aio.Channel, metadata: Sequence[tuple[str, str]]) -> None:
        stream = ConverseStream(channel, metadata)
        sender: asyncio.Task[None] | None = None
        try:
            await stream.write(gateway_pb2.ConverseRequest(start=self._start).SerializeToString())
            async for message in stream.messages():
                now_s = self._now_s()
                self._listener(message)
                kind = message.WhichOneof("message")
                if kind == "audio":
                    self._hear(message.audio, now_s)
                elif kind == "event":
                    self._note(message.event, now_s)
                elif kind == "started":
                    self.record.started_s, self.record.started = now_s, message.started
                    sender = asyncio.create_task(self.speak(stream, now_s))
                elif kind == "ended":
                    self.record.counters = message.ended.counters
                    self.record.shut_down = message.ended.reason == gateway_pb2.Ended.REASON_SHUTDOWN
        finally:
            stream.cancel()
            if sender is not None:
                sender.cancel()
                await asyncio.wait([sender])
                if not sender.cancelled():
                    sender.result()

    async def speak(self, stream: Outgoing, begin_s: float) -> None:
        """Sends every packet of the plan, the first one due at `begin_s`, and half-closes."""
        record, messages, first = self.record, self._messages, self._first
        matcher, count = record.matcher, len(self._messages)
        async with aclosing(paced(self.plan.offsets_s, begin_s, self._now_s, self._sleep)) as moments:
            async for due_s in moments:
                if self._hang_up:
                    record.cut_short = True
                    break
                packet, now_s = self.plan.packets[len(record.lateness_s)], self._now_s()
                record.lateness_s.append(max(0.0, now_s - due_s))
                matcher.sent(now_s)
                if not await stream.write(messages[(first + packet) % count]):
                    return
                if matcher.wants_counters:
                    await stream.write(_STATUS)
        matcher.hung_up()
        await stream.half_close()

    def _hear(self, audio: gateway_pb2.ReplyAudio, now_s: float) -> None:
        record, line = self.record, self.record.reply_line or self.record.line
        if record.first_reply_s is None:
            record.first_reply_s = now_s
        samples, first = samples_in(len(audio.data), ENCODINGS[line.encoding]), audio.first_sample
        record.gaps += first != record.reply_position
        record.reply_samples += samples
        record.reply_position = first + samples
        record.playback.arrive(now_s, samples / line.rate_hz)
        for frame in range(first // line.frame_samples, record.reply_position // line.frame_samples):
            record.reply_frames += 1
            record.matcher.replied(frame, now_s)

    def _note(self, event: gateway_pb2.Event, now_s: float) -> None:
        matcher = self.record.matcher
        if event.kind == gateway_pb2.Event.KIND_FILLED:
            matcher.told(event.frame_index, now_s, filled=event.frames)
        elif event.kind == gateway_pb2.Event.KIND_DROPPED:
            matcher.told(event.frame_index, now_s, dropped=event.frames)
        elif event.kind == gateway_pb2.Event.KIND_REPLY_DROPPED:
            self.record.reply_dropped += event.frames
        elif event.kind == gateway_pb2.Event.KIND_STATUS:
            now = event.counters
            matcher.counted(CountersThen(now.samples_in, now.frames_in, now.frames_filled, now.frames_dropped))
