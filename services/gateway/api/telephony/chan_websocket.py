"""Asterisk's chan_websocket: voice in binary messages, control in text, on a connection that Asterisk opens.

Asterisk plays what it gets at its own pace, one packet per tick, from a queue of its own, and hands on what the caller
says as it comes: no packet has a number, silence that is not transmitted is no packet at all. That queue grows with
every packet that comes too early, and with the difference of two clocks, and nothing ever shortens it. So Asterisk is
asked now and then how long it is, and packets are left out for what has stood in it all the while.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from moshi_cluster.services.common.errors import InvalidInput, SessionError
from moshi_cluster.services.gateway.api.telephony.asterisk_messages import AsteriskEvent, command, parse_event
from moshi_cluster.services.gateway.api.telephony.basic_credentials import basic_password
from moshi_cluster.services.gateway.api.telephony.options import CallOptions, parse_options
from moshi_cluster.services.gateway.api.telephony.standing_queue import StandingQueue
from moshi_cluster.services.gateway.api.telephony.wire import (
    Control,
    Incoming,
    Key,
    Message,
    Opening,
    OpenWire,
    Played,
    Request,
    Voice,
    Wire,
)
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.events import CallEvent, EventKind, Started
from moshi_cluster.services.gateway.settings import GatewaySettings

_FORMATS = {
    "ulaw": AudioFormat(Encoding.MULAW, 8_000),
    "alaw": AudioFormat(Encoding.ALAW, 8_000),
    "g722": AudioFormat(Encoding.G722, 16_000),
    "slin": AudioFormat(Encoding.PCM_S16LE, 8_000),
    "slin12": AudioFormat(Encoding.PCM_S16LE, 12_000),
    "slin16": AudioFormat(Encoding.PCM_S16LE, 16_000),
    "slin24": AudioFormat(Encoding.PCM_S16LE, 24_000),
    "slin32": AudioFormat(Encoding.PCM_S16LE, 32_000),
    "slin44": AudioFormat(Encoding.PCM_S16LE, 44_100),
    "slin48": AudioFormat(Encoding.PCM_S16LE, 48_000),
}
"""By Asterisk's names, its samples little-endian. The model's own rate is slin24: nothing is resampled here."""

_USUAL_MS = 20
_MOST_EARLY_BYTES = 96_000  # a second of slin48
_MOST_MARKS = 64
_MOST_ERROR_CHARACTERS = 200
_PASSTHROUGH = "not supported in passthrough mode"
_VARIABLE_PREFIX = "MOSHI_"

_log = logging.getLogger(__name__)


class ChanWebSocket(Wire):
    """One channel of Asterisk, dialled as WebSocket/NAME."""

    subprotocols = ("media",)

    def __init__(self, request: Request) -> None:
        """Raises InvalidInput for credentials that are none."""
        self.token = basic_password(request.headers)
        self._query = request.query
        self._is_json = True
        self._is_open = False
        self._has_refused = False
        self._is_passthrough = False
        self._early: list[bytes] = []  # voice before MEDIA_START
        self._early_bytes = 0
        self._marks: list[str] = []  # that Asterisk has not reached
        self._flushed_marks: list[str] = []  # that it never will
        self._queue = StandingQueue()

    # --- from Asterisk

    def parse(self, message: Message) -> Sequence[Incoming]:
        """Binary is voice, text an event. Raises InvalidInput naming the parameter."""
        if isinstance(message, bytes):
            return self._voice(message)
        return self._event(parse_event(message))

    def _voice(self, data: bytes) -> Sequence[Incoming]:
        """Asterisk's own frames are never empty; a proxy's may be."""
        if not data:
            return ()
        if self._is_open:
            return (Voice(data),)
        self._early_bytes += len(data)
        if self._early_bytes > _MOST_EARLY_BYTES:
            raise InvalidInput("MEDIA_START", "must come within the first second of voice")
        self._early.append(data)
        return ()

    def _event(self, event: AsteriskEvent) -> Sequence[Incoming]:
        take = _TAKES.get(event.name)
        return (Control.UNKNOWN,) if take is None else take(self, event)

    def _key(self, event: AsteriskEvent) -> Sequence[Incoming]:
        return (Key(event.text("digit")),)

    def _status(self, event: AsteriskEvent) -> Sequence[Incoming]:
        self._queue.observe(event.number("queue_length"))
        return ()

    def _error(self, event: AsteriskEvent) -> Sequence[Incoming]:
        """Asterisk takes the voice all the same, so the call goes on; one in passthrough refuses marks every time."""
        text = event.text("error_text", "")[:_MOST_ERROR_CHARACTERS]
        if not self._has_refused:
            self._has_refused = True
            _log.warning("Asterisk refuses a command, the first of this call: %r", text)
        self._is_passthrough |= _PASSTHROUGH in text
        return (Control.UNKNOWN,)

    def _media_start(self, event: AsteriskEvent) -> Sequence[Incoming]:
        if self._is_open:
            raise InvalidInput("MEDIA_START", "must come once")
        self._is_json, self._is_open = event.is_json, True
        early, self._early = self._early, []
        return (_opening(event, self._query), *map(Voice, early))

    def _mark_processed(self, event: AsteriskEvent) -> Sequence[Incoming]:
        """Asterisk reaches marks in order."""
        name = event.text("correlation_id", "")
        if name not in self._marks:
            return ()
        place = self._marks.index(name) + 1
        passed, self._marks = self._marks[:place], self._marks[place:]
        return tuple(map(Played, passed))

    def _drained(self, event: AsteriskEvent) -> Sequence[Incoming]:
        flushed, self._flushed_marks = self._flushed_marks, []
        return tuple(map(Played, flushed))

    # --- to Asterisk

    def started(self, started: Started) -> Sequence[Message]:
        """Answers a channel that was dialled not to be answered at once; to any other it means nothing."""
        return (self._command("ANSWER"),)

    def audio(self, packet: ReplyPacket) -> Sequence[Message]:
        """Whole packets: the rest of one that is no multiple of Asterisk's own frame would be thrown away there."""
        if self._queue.skips():
            self.left_out_packets += 1
            return ()
        if self._queue.asks():
            return packet.data, self._command("GET_STATUS")
        return (packet.data,)

    def event(self, event: CallEvent) -> Sequence[Message]:
        """What was cleared is thrown away there too; Asterisk says when it has, and its marks are gone with it."""
        if event.kind is not EventKind.CLEARED or self._is_passthrough:
            return ()
        self._flushed_marks = (self._flushed_marks + self._marks)[-_MOST_MARKS:]
        self._marks = []
        self._queue.forget()
        return self._command("FLUSH_MEDIA"), self._command("REPORT_QUEUE_DRAINED")

    def mark(self, name: str) -> Sequence[Message]:
        """Answered once Asterisk has played what came before; in passthrough it has no queue."""
        if self._is_passthrough:
            return ()
        self._marks = [*self._marks, name][-_MOST_MARKS:]
        return (self._command("MARK_MEDIA", name),)

    def end(self, error: SessionError | None) -> Sequence[Message]:
        """Hangs up the channel, so that the dialplan goes on behind Dial."""
        return (self._command("HANGUP"),)

    def _command(self, name: str, correlation_id: str = "") -> str:
        return command(name, self._is_json, correlation_id)


_TAKES: Mapping[str, Callable[[ChanWebSocket, AsteriskEvent], Sequence[Incoming]]] = {
    "MEDIA_START": ChanWebSocket._media_start,
    "DTMF_END": ChanWebSocket._key,
    "MEDIA_XOFF": lambda wire, event: (Control.HOLD,),
    "MEDIA_XON": lambda wire, event: (Control.GO_ON,),
    "MEDIA_MARK_PROCESSED": ChanWebSocket._mark_processed,
    "MEDIA_BUFFERING_COMPLETED": lambda wire, event: (),  # of a bulk, which is never begun here
    "QUEUE_DRAINED": ChanWebSocket._drained,
    "STATUS": ChanWebSocket._status,
    "ERROR": ChanWebSocket._error,
}


def chan_websocket(settings: GatewaySettings) -> OpenWire:
    """The wire as `wires` has it; nothing to set."""
    return ChanWebSocket


def _opening(event: AsteriskEvent, query: Mapping[str, str]) -> Opening:
    name = event.text("format")
    if name not in _FORMATS:
        raise InvalidInput("MEDIA_START.format", f"must be one of {', '.join(_FORMATS)}", got=name[:32])
    audio_format = _FORMATS[name]
    packet_ms = event.number("ptime", _USUAL_MS)
    if packet_ms not in range(10, 101, 10):
        raise InvalidInput("MEDIA_START.ptime", "must be 10 to 100 in tens", got_ms=packet_ms)
    frame_bytes = packet_ms * audio_format.bytes_per_s // 1000
    given_bytes = event.number("optimal_frame_size", frame_bytes)
    if given_bytes != frame_bytes:
        raise InvalidInput(
            "MEDIA_START.optimal_frame_size", "is not that of its format", got_bytes=given_bytes, bytes=frame_bytes
        )
    return Opening(audio_format, audio_format, packet_ms, _options(event, query))


def _options(event: AsteriskEvent, query: Mapping[str, str]) -> CallOptions:
    """Variables MOSHI_* of the channel, then parameters of the address.

    v() in a dial string extends the address, but Asterisk keeps that with the connection: a later call that names none
    has it too, and one at the same time may. So what a channel says of itself goes first.
    """
    variables = event.parameters.get("channel_variables") or {}
    if not isinstance(variables, Mapping):
        raise InvalidInput("MEDIA_START.channel_variables", "must be an object")
    own = {name.lstrip("_"): value for name, value in variables.items()}  # inherited ones keep their underscores
    ours = {
        name.removeprefix(_VARIABLE_PREFIX).lower(): value
        for name, value in own.items()
        if name.startswith(_VARIABLE_PREFIX)
    }
    return parse_options({**query, **ours})
