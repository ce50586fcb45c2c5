"""One call over gRPC, its packets prepared: said in real time, what comes back gathered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from moshi_cluster.clients.telephony.access import OPEN, Access
from moshi_cluster.clients.telephony.call import Call, CallEvent, Lost
from moshi_cluster.clients.telephony.errors import CallLost
from moshi_cluster.v1 import gateway_pb2


@dataclass(frozen=True)
class CallScript:
    """What a caller says in a call, and how it travels."""

    start: gateway_pb2.Start
    packets: Sequence[bytes]  # each `packet_s` long, the last may be shorter
    packet_s: float


@dataclass
class CallResult:
    """What came back in a call."""

    audio: bytearray = field(default_factory=bytearray)  # in the output format
    text: str = ""
    started: gateway_pb2.Started | None = None
    ended: gateway_pb2.Ended | None = None


class Listener:
    """Told of what happens while a call runs; does nothing unless overridden."""

    def started(self, started: gateway_pb2.Started) -> None:
        """The call is up."""

    def text(self, piece: str) -> None:
        """Moshi says something."""

    def event(self, event: gateway_pb2.Event) -> None:
        """Something happened to the call."""

    def lost(self, error: CallLost) -> None:
        """The call was lost, and is about to be resumed."""


async def converse(
    target: str, script: CallScript, listener: Listener, access: Access = OPEN, resume: bool = False
) -> CallResult:
    """Makes one call to the gateway at host:port and returns when it has ended.

    resume: goes on with a call that is lost, over a new connection, from the first packet that was not sent. Cancelling
    hangs up at once. Raises CallError, BadInput for a certificate that cannot be read.
    """
    result = CallResult()
    async with Call(target, script.start, access, resume) as call:
        speaking = asyncio.create_task(_speak(call, script))
        try:
            async for event in call:
                _take(event, result, listener)
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
    return result


async def _speak(call: Call, script: CallScript) -> None:
    await call.play(script.packets, script.packet_s)
    await call.hang_up()


def _take(event: CallEvent, result: CallResult, listener: Listener) -> None:
    match event:
        case gateway_pb2.Started():
            result.started = event
            listener.started(event)
        case gateway_pb2.ReplyAudio():
            result.audio += event.data
        case gateway_pb2.Text():
            result.text += event.piece
            listener.text(event.piece)
        case gateway_pb2.Event():
            listener.event(event)
        case gateway_pb2.Ended():
            result.ended = event
        case Lost():
            listener.lost(event.error)
