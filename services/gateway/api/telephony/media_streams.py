"""Wires of Twilio Media Streams and of those that copy them: JSON texts, the voice in base64, by a table of names."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moshi_cluster.services.common.errors import InvalidInput, Unsupported
from moshi_cluster.services.gateway.api.telephony.basic_credentials import basic_password
from moshi_cluster.services.gateway.api.telephony.fields import json_object, number, section, text
from moshi_cluster.services.gateway.api.telephony.options import parse_options
from moshi_cluster.services.gateway.api.telephony.wire import (
    Control,
    Incoming,
    Key,
    Message,
    Opening,
    Played,
    Request,
    Voice,
    Wire,
    WireKind,
)
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.events import CallEvent, EventKind

_L16_RATE_HZ = 16_000
_PACKET_MS = 80  # these systems hold what they are sent: a frame at a time is the fewest messages
_ENCODINGS = {
    "audio/x-mulaw": Encoding.MULAW,
    "mulaw": Encoding.MULAW,
    "pcmu": Encoding.MULAW,
    "audio/x-alaw": Encoding.ALAW,
    "pcma": Encoding.ALAW,
    "audio/x-l16": Encoding.PCM_S16LE,
    "audio/l16": Encoding.PCM_S16LE,
    "l16": Encoding.PCM_S16BE,  # Telnyx' RTP payload, in network order
    "g722": Encoding.G722,
    "audio/x-raw": Encoding.PCM_S16LE,
    "base64": Encoding.PCM_S16LE,
}


@dataclass(frozen=True)
class Dialect:
    """How one system calls what they all have."""

    stream: str
    """Of the stream, in every message."""
    media_format: str = "media_format"
    sample_rate: str = "sample_rate"
    parameters: str = "custom_parameters"
    media: str = "media"
    """Of the event that plays."""
    mark: str = "mark"
    played: str = "mark"
    clear: str = "clear"
    names_at_top: bool = False
    """A mark's name stands in the message itself, not in an object of its own."""
    tells_format: bool = False
    """What is played says its format."""
    timed: bool = True
    """Timestamps are those of the stream, and tell of packets that were lost before they were numbered."""
    least_bytes: int = 0
    """Least that is played at once."""
    reply_codec: str = ""
    """Of the parameter that names the encoding of what is played, where it is chosen apart; absent: mu-law."""
    send_digits: str = ""
    """Of the event that sends keys, where there is one."""
    token_header: str = ""
    """Of the request, beside `Authorization`."""


TWILIO = Dialect("streamSid", "mediaFormat", "sampleRate", "customParameters")
TELNYX = Dialect("stream_id", reply_codec="reply_codec", token_header="x-telnyx-streaming-auth-token")
EXOTEL = Dialect("stream_sid", least_bytes=3200)
PLIVO = Dialect(
    "streamId",
    "mediaFormat",
    "sampleRate",
    "extra_headers",
    "playAudio",
    "checkpoint",
    "playedStream",
    "clearAudio",
    names_at_top=True,
    tells_format=True,
    timed=False,
    send_digits="sendDTMF",
)


def media_streams(dialect: Dialect) -> WireKind:
    """The wire of a dialect that needs no setting."""
    return lambda settings: lambda request: MediaStreamsWire(dialect, request)


class MediaStreamsWire(Wire):
    """One stream, in one dialect."""

    def __init__(self, dialect: Dialect, request: Request, is_authenticated: bool = False) -> None:
        self._dialect = dialect
        self._query = request.query
        self.token = basic_password(request.headers) or request.headers.get(dialect.token_header)
        self.is_authenticated = is_authenticated
        self._stream: str | None = None
        self._output = AudioFormat(Encoding.MULAW, 8_000)
        self._unsent = b""  # less than least_bytes

    # --- from the system

    def parse(self, message: Message) -> Sequence[Incoming]:
        """Events of a later version are passed over, and counted."""
        fields = json_object(message)
        event = text(fields, "event", "event")
        if event == "connected":
            return ()
        if event == "start":
            return (self._opening(fields),)
        if self._stream is None:
            raise InvalidInput("event", "must be start before anything else")
        if event == "media":
            return self._voice(section(fields, "media"))
        if event == "dtmf":
            return (Key(text(section(fields, "dtmf"), "digit", "dtmf.digit")),)
        if event == self._dialect.played:
            return (Played(self._mark_name(fields)),)
        return (Control.END if event == "stop" else Control.UNKNOWN,)

    def _opening(self, fields: Mapping[str, Any]) -> Opening:
        if self._stream is not None:
            raise InvalidInput("event", "must be start only once")
        names, start = self._dialect, section(fields, "start")
        place = fields if names.stream in fields else start
        self._stream = text(place, names.stream, names.stream)
        given = _parameters(start.get(names.parameters, fields.get(names.parameters)))
        parameters = {**self._query, **given}
        spoken = self._format(section(start, names.media_format))
        self._output = _reply_format(parameters, names.reply_codec) if names.reply_codec else spoken
        return Opening(spoken, self._output, _PACKET_MS, parse_options(parameters), paced=False)

    def _format(self, fields: Mapping[str, Any]) -> AudioFormat:
        field = f"start.{self._dialect.media_format}"
        encoding = _encoding(text(fields, "encoding", f"{field}.encoding"), f"{field}.encoding")
        if encoding is Encoding.G722:
            return AudioFormat.parse(encoding, 0, field)  # RTP calls its 16 kHz 8000 (RFC 3551, section 4.5.2)
        rate_hz = number(fields, self._dialect.sample_rate, f"{field}.{self._dialect.sample_rate}")
        return AudioFormat.parse(encoding, rate_hz, field)

    def _voice(self, media: Mapping[str, Any]) -> Sequence[Incoming]:
        if media.get("track", "inbound") not in ("inbound", "inbound_track"):
            return ()  # what Moshi says comes back where both tracks are asked for
        data = _decoded(text(media, "payload", "media.payload"))
        chunk = number(media, "chunk", "media.chunk") if "chunk" in media else None
        time_ms = (
            number(media, "timestamp", "media.timestamp") if self._dialect.timed and "timestamp" in media else None
        )
        return (Voice(data, chunk, time_ms),)

    def _mark_name(self, fields: Mapping[str, Any]) -> str:
        if self._dialect.names_at_top:
            return text(fields, "name", "name")
        return text(section(fields, "mark"), "name", "mark.name")

    # --- to the system

    def audio(self, packet: ReplyPacket) -> Sequence[Message]:
        """Plays what Moshi says."""
        self._unsent += packet.data
        if len(self._unsent) < self._dialect.least_bytes:
            return ()
        data, self._unsent = self._unsent, b""
        media: dict[str, Any] = {"payload": base64.b64encode(data).decode()}
        if self._dialect.tells_format:
            is_mulaw = self._output.encoding is Encoding.MULAW
            media |= {"contentType": "audio/x-mulaw" if is_mulaw else "audio/x-l16", "sampleRate": self._output.rate_hz}
        return (self._message(self._dialect.media, media=media),)

    def event(self, event: CallEvent) -> Sequence[Message]:
        """Throws away what waits at the far end, too."""
        if event.kind is not EventKind.CLEARED:
            return ()
        self._unsent = b""
        return (self._message(self._dialect.clear),)

    def mark(self, name: str) -> Sequence[Message]:
        """A mark, or checkpoint."""
        if self._dialect.names_at_top:
            return (self._message(self._dialect.mark, name=name),)
        return (self._message(self._dialect.mark, mark={"name": name}),)

    def send_digits(self, digits: str) -> Sequence[Message]:
        """Where the dialect has a command."""
        if not self._dialect.send_digits:
            raise Unsupported("this wire sends no keys")
        return (self._message(self._dialect.send_digits, dtmf=digits),)

    def _message(self, event: str, **fields: object) -> str:
        return json.dumps({"event": event, self._dialect.stream: self._stream, **fields}, separators=(",", ":"))


def _encoding(name: str, field: str) -> Encoding:
    encoding = _ENCODINGS.get(name.lower())
    if encoding is None:
        raise InvalidInput(field, f"must be one of {', '.join(_ENCODINGS)}")
    return encoding


def _reply_format(parameters: Mapping[str, object], name: str) -> AudioFormat:
    """PCMU, PCMA, G722, or L16 with its rate: L16/16000."""
    codec, _, rate = text({name: "PCMU", **parameters}, name, name).partition("/")
    encoding = _encoding(codec, name)
    if not rate:
        return AudioFormat.parse(encoding, 0 if encoding is not Encoding.PCM_S16BE else _L16_RATE_HZ, name)
    return AudioFormat.parse(encoding, number({name: rate}, name, name), name)


def _decoded(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("media.payload", "must be base64") from None


def _parameters(given: object) -> Mapping[str, object]:
    """An object, its JSON, or key=value;key=value."""
    if isinstance(given, str):
        if given.lstrip().startswith("{"):
            return json_object(given)
        pairs = (pair.partition("=") for pair in given.replace(",", ";").split(";") if pair)
        return {name.strip(): value.strip() for name, _, value in pairs}
    return given if isinstance(given, dict) else {}
