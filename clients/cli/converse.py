"""One call over gRPC, its packets prepared: sent on an absolute schedule, what comes back gathered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

from moshi_cluster.clients.cli.access import OPEN, Access
from moshi_cluster.clients.cli.call_status import call_error
from moshi_cluster.clients.cli.errors import CallError, CallLost
from moshi_cluster.clients.cli.resuming import Attempts, HeardReply, resumed_start
from moshi_cluster.v1 import gateway_pb2, gateway_pb2_grpc

# How long the gateway may be silent before the call is given up.
CONNECT_TIMEOUT_S = 10.0
REPLY_TIMEOUT_S = 30.0
# What writing raises once the call is over; reading says why it is.
_CALL_IS_OVER = (grpc.aio.AioRpcError, asyncio.InvalidStateError)


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
    calls: int = 0  # that began; more than one when it was lost and resumed
    heard: HeardReply = field(default_factory=HeardReply)
    sent_packets: int = 0


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
    result, attempts = CallResult(), Attempts()
    while True:
        calls = result.calls
        try:
            await _call(target, script, result, listener, access)
            if resume and _is_cut(result, script):
                raise CallLost("the gateway stops")
            return result
        except CallLost as lost:
            if result.calls > calls:
                attempts.succeeded()
            delay_s = attempts.delay_s()
            if not resume or result.heard.resume is None or delay_s is None:
                raise
            listener.lost(lost)
            await asyncio.sleep(delay_s)


def _is_cut(result: CallResult, script: CallScript) -> bool:
    """Whether the gateway has ended the call before everything was said."""
    is_shutdown = result.ended is not None and result.ended.reason == gateway_pb2.Ended.REASON_SHUTDOWN
    return is_shutdown and result.sent_packets < len(script.packets)


async def _call(target: str, script: CallScript, result: CallResult, listener: Listener, access: Access) -> None:
    """One connection, on which a call begins or goes on."""
    async with access.grpc_channel(target) as channel:
        await connect(channel, target, access)
        stream = gateway_pb2_grpc.GatewayStub(channel).Converse(metadata=access.headers())
        try:
            await _run(stream, script, result, listener)
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from error
        except TimeoutError as error:
            raise CallLost(f"the gateway was silent for {REPLY_TIMEOUT_S:g} s") from error
        finally:
            stream.cancel()


async def connect(channel: grpc.aio.Channel, target: str, access: Access) -> None:
    """Waits until the gateway at host:port answers. Raises CallError."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await channel.channel_ready()
    except TimeoutError as error:
        way = "over TLS" if access.tls else "without TLS"
        raise CallLost(f"no gateway answers at {target} {way} within {CONNECT_TIMEOUT_S:g} s") from error


async def _run(stream: grpc.aio.StreamStreamCall, script: CallScript, result: CallResult, listener: Listener) -> None:
    result.ended = None
    await _write(stream, gateway_pb2.ConverseRequest(start=resumed_start(script.start, result.heard.resume)))
    sender: asyncio.Task[None] | None = None
    try:
        while (message := await _read(stream)) is not None:
            _take(message, result, listener)
            if message.HasField("started") and sender is None:
                sender = asyncio.create_task(_send(stream, script, result))
    finally:
        if sender is not None:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
    if result.ended is None:
        raise CallError("the gateway closed the call without saying that it ended")


async def _send(stream: grpc.aio.StreamStreamCall, script: CallScript, result: CallResult) -> None:
    """Packet n leaves n packet lengths after the first: a late packet does not delay those behind it."""
    loop = asyncio.get_running_loop()
    start_s = loop.time() - result.sent_packets * script.packet_s
    for index in range(result.sent_packets, len(script.packets)):
        await asyncio.sleep(max(0.0, start_s + index * script.packet_s - loop.time()))
        await _write(stream, gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=script.packets[index])))
        result.sent_packets = index + 1
    with contextlib.suppress(*_CALL_IS_OVER):
        await stream.done_writing()


async def _write(stream: grpc.aio.StreamStreamCall, request: gateway_pb2.ConverseRequest) -> None:
    with contextlib.suppress(*_CALL_IS_OVER):
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            await stream.write(request)


async def _read(stream: grpc.aio.StreamStreamCall) -> gateway_pb2.ConverseResponse | None:
    """The next message, None after the last."""
    async with asyncio.timeout(REPLY_TIMEOUT_S):
        message = await stream.read()
    return None if message is grpc.aio.EOF else message


def _take(message: gateway_pb2.ConverseResponse, result: CallResult, listener: Listener) -> None:
    match message.WhichOneof("message"):
        case "started":
            result.started = message.started
            result.calls += 1
            result.heard.begin(message.started)
            listener.started(message.started)
        case "audio":
            result.audio += message.audio.data
            result.heard.audio(message.audio)
        case "text":
            result.text += message.text.piece
            listener.text(message.text.piece)
        case "event":
            listener.event(message.event)
        case "ended":
            result.ended = message.ended
