"""A call to a gateway over gRPC, as a telephony system holds it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

import grpc

from moshi_cluster.clients.telephony import stream as streams
from moshi_cluster.clients.telephony.access import OPEN, Access
from moshi_cluster.clients.telephony.call_status import call_error
from moshi_cluster.clients.telephony.errors import CallLost
from moshi_cluster.clients.telephony.pacing import paced
from moshi_cluster.clients.telephony.resuming import Attempts, HeardReply, Resume, resumed_start
from moshi_cluster.clients.telephony.stream import ConverseStream, connect
from moshi_cluster.v1 import gateway_pb2

_CLEAR = gateway_pb2.Control(clear=gateway_pb2.Control.ClearRequest())
_SHUTDOWN = gateway_pb2.Ended.REASON_SHUTDOWN


@dataclass(frozen=True)
class Lost:
    """The call was lost; it is resumed over a new connection after `delay_s`."""

    error: CallLost
    delay_s: float


CallEvent: TypeAlias = (
    gateway_pb2.Started | gateway_pb2.ReplyAudio | gateway_pb2.Text | gateway_pb2.Event | gateway_pb2.Ended | Lost
)
"""What comes of a call: the contract's messages, and its losses where it is resumed."""


class Call:
    """One call, from `start` to its end. `async with` it, and iterate over it once: that makes the connection.

    Lost connections are an error, or, if it is to be resumed, a `Lost` between what came before and after; what is said
    with `say` meanwhile is lost, what is said with `play` is not. Leaving hangs up at once.
    """

    def __init__(self, target: str, start: gateway_pb2.Start, access: Access = OPEN, resume: bool = False) -> None:
        """target: host:port of the gateway. start: how audio travels, as whom Moshi speaks, and so on."""
        self._target, self._start, self._access, self._resumes = target, start, access, resume
        self._heard = HeardReply()
        self._attempts = Attempts()
        self._stream: ConverseStream | None = None  # while the call is up
        self._changed = asyncio.Event()
        self._over = self._hung_up = False
        self._events = self._all_events()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._events.aclose()
        self._end()

    def __aiter__(self) -> AsyncIterator[CallEvent]:
        """Everything that comes, `Started` first. Raises CallError, BadInput for a certificate that cannot be read."""
        return self._events

    @property
    def resume(self) -> Resume | None:
        """What would go on with it if it were lost; None where nothing can."""
        return self._heard.resume

    async def say(self, packet: bytes) -> None:
        """Sends a piece of the caller's voice, in the input format, at once. Nothing happens while no call is up."""
        if self._stream is not None:
            await self._stream.write(_audio(packet))

    async def play(self, packets: Sequence[bytes], packet_s: float) -> None:
        """Says packets in real time, each `packet_s` long; after a loss from the first one on that was not sent.

        Returns when all are sent, or the call is over.
        """
        sent, stream = 0, None
        while sent < len(packets) and (stream := await self._stream_after(stream)) is not None:
            offsets_s = (index * packet_s for index in range(len(packets) - sent))
            async with aclosing(paced(offsets_s, time.monotonic())) as moments:
                async for _ in moments:
                    if not await stream.write(_audio(packets[sent])):
                        break
                    sent += 1

    async def barge_in(self) -> None:
        """Has the gateway throw away the reply that has not left yet; whoever plays it clears their buffer, too."""
        await self.control(_CLEAR)

    async def control(self, control: gateway_pb2.Control) -> None:
        """Sends a mark, a pause, a pressed key, a question for the counters: their answers are events."""
        if self._stream is not None:
            await self._stream.write(gateway_pb2.ConverseRequest(control=control).SerializeToString())

    async def hang_up(self) -> None:
        """Says that no more voice comes; what is in flight is still answered, then `Ended` comes."""
        self._hung_up = True
        if self._stream is not None:
            await self._stream.half_close()

    async def _all_events(self) -> AsyncGenerator[CallEvent, None]:
        try:
            while True:
                try:
                    async with aclosing(self._events_of_one_connection()) as events:
                        async for event in events:
                            yield event
                    return
                except CallLost as error:
                    delay_s = self._attempts.delay_s()
                    if not self._resumes or self.resume is None or delay_s is None:
                        raise
                    lost = Lost(error, delay_s)
                yield lost
                await asyncio.sleep(lost.delay_s)
        finally:
            self._end()

    def _end(self) -> None:
        self._over = True
        self._changed.set()

    async def _events_of_one_connection(self) -> AsyncGenerator[CallEvent, None]:
        async with self._access.grpc_channel(self._target) as channel:
            await connect(channel, self._target, self._access)
            stream, ended = ConverseStream(channel, self._access.headers(), streams.REPLY_TIMEOUT_S), False
            try:
                start = resumed_start(self._start, self.resume)
                await stream.write(gateway_pb2.ConverseRequest(start=start).SerializeToString())
                async with aclosing(stream.messages()) as messages:
                    async for message in messages:
                        ended = ended or message.HasField("ended")
                        if (event := await self._event(message, stream)) is not None:
                            yield event
            except grpc.aio.AioRpcError as error:
                raise call_error(error) from error
            except TimeoutError as error:
                raise CallLost(f"the gateway was silent for {streams.REPLY_TIMEOUT_S:g} s") from error
            finally:
                self._stream = None
                stream.cancel()
        if not ended:
            raise CallLost("the gateway closed the call without saying that it ended")

    async def _event(self, message: gateway_pb2.ConverseResponse, stream: ConverseStream) -> CallEvent | None:
        """None for a message of a later version.

        Raises CallLost when the gateway, and not the caller, ends a call that is to be resumed.
        """
        match message.WhichOneof("message"):
            case "started":
                await self._begin(message.started, stream)
                return message.started
            case "audio":
                self._heard.audio(message.audio)
                return message.audio
            case "text":
                return message.text
            case "event":
                return message.event
            case "ended":
                if message.ended.reason == _SHUTDOWN and self._resumes and not self._hung_up:
                    raise CallLost("the gateway stops")
                return message.ended
            case _:
                return None

    async def _begin(self, started: gateway_pb2.Started, stream: ConverseStream) -> None:
        self._heard.begin(started)
        self._attempts.succeeded()
        self._stream = stream
        self._changed.set()
        if self._hung_up:
            await stream.half_close()

    async def _stream_after(self, last: ConverseStream | None) -> ConverseStream | None:
        """The stream of the call once it is up, another one than `last`; None once the call is over."""
        while not self._over and self._stream in (None, last):
            self._changed.clear()
            await self._changed.wait()
        return None if self._over else self._stream


def _audio(packet: bytes) -> bytes:
    return gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=packet)).SerializeToString()
