"""FreeSWITCH's modules that stream a channel over a WebSocket: jambonz's `listen`, mod_audio_fork, mod_audio_stream.

All three send a text first, the metadata, and then the caller's voice in binary messages. They call it L16, and mean
16-bit samples as they lie in the memory of the machine, little-endian; RFC 3551's L16 is big-endian. jambonz's metadata
are the call's attributes and say the sample rate. Those of the other two are whatever the dialplan gave them: who wants
another rate than FreeSWITCH's usual 8000 says so there or in the address.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moshi_cluster.services.common.errors import InvalidInput, SessionError
from moshi_cluster.services.gateway.api.telephony.basic_credentials import basic_password
from moshi_cluster.services.gateway.api.telephony.fields import json_object, section, text
from moshi_cluster.services.gateway.api.telephony.options import parse_options
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
from moshi_cluster.services.gateway.calls.events import CallEvent, EventKind
from moshi_cluster.services.gateway.settings import GatewaySettings

_USUAL_RATE_HZ = 8_000
_FRAME_MS = 80  # the modules hold what they are sent: a frame at a time is the fewest messages, and as soon as any
_MOST_RATE_CHARACTERS = 6


class L16Wire(Wire):
    """What the modules have in common: metadata, then voice, and texts in between that are the dialplan's own."""

    paced = True

    def __init__(self, request: Request) -> None:
        """Raises InvalidInput for credentials that are none."""
        self.token = basic_password(request.headers)
        self._query = request.query
        self._is_open = False
        self._output = AudioFormat(Encoding.PCM_S16LE, _USUAL_RATE_HZ)

    def parse(self, message: Message) -> Sequence[Incoming]:
        """Voice without metadata before it begins a call too: the dialplan may have none."""
        if isinstance(message, str):
            return self._text(message) if self._is_open else (self._opening(_fields(message)),)
        if self._is_open:
            return (Voice(message),)
        return (self._opening({}), Voice(message))

    def _opening(self, metadata: Mapping[str, Any]) -> Opening:
        self._is_open = True
        if metadata.get("mixType", "mono") != "mono":
            raise InvalidInput("mixType", "must be mono: in anything else Moshi hears itself")
        given = {**self._query, **metadata}
        rate_hz = _rate_hz(given, "sampleRate", _USUAL_RATE_HZ)
        spoken = AudioFormat.parse(Encoding.PCM_S16LE, rate_hz, "sampleRate")
        reply_rate_hz = _rate_hz(given, "replySampleRate", rate_hz)
        self._output = AudioFormat.parse(Encoding.PCM_S16LE, reply_rate_hz, "replySampleRate")
        return Opening(spoken, self._output, _FRAME_MS, parse_options(given), self.paced)

    def _text(self, message: str) -> Sequence[Incoming]:
        """Keys, as jambonz passes them on and any dialplan may, and marks that were played or thrown away."""
        fields = _fields(message)
        if fields.get("event") == "dtmf":
            return (Key(text(fields, "dtmf", "dtmf")),)
        if fields.get("type") == "mark":
            return (Played(text(section(fields, "data"), "name", "data.name")),)
        return (Control.UNKNOWN,)


class AudioForkWire(L16Wire):
    """mod_audio_fork: voice back in binary messages, commands in JSON."""

    paced = False

    def __init__(self, request: Request, subprotocol: str, has_transfer: bool) -> None:
        super().__init__(request)
        self.subprotocols = (subprotocol,)
        self._has_transfer = has_transfer

    def audio(self, packet: ReplyPacket) -> Sequence[Message]:
        """The module keeps marks among what it plays, as samples of -1, and takes one of ours for a mark."""
        samples = np.frombuffer(packet.data, "<i2")
        return (np.where(samples == -1, np.int16(0), samples).astype("<i2").tobytes(),)

    def event(self, event: CallEvent) -> Sequence[Message]:
        """What was sent and not played is thrown away at the far end, too."""
        return (_command("killAudio"),) if event.kind is EventKind.CLEARED else ()

    def mark(self, name: str) -> Sequence[Message]:
        """Older modules do not know marks, and pass them over."""
        return (_command("mark", name=name),)

    def end(self, error: SessionError | None) -> Sequence[Message]:
        """The application goes on behind its `listen`, or hangs up."""
        return (_command("disconnect"),)

    def transfer(self, to: str) -> Sequence[Message]:
        """An event to the application, where one may listen for it; jambonz does not."""
        if not self._has_transfer:
            return super().transfer(to)
        return (_command("transfer", to=to),)


class AudioStreamWire(L16Wire):
    """mod_audio_stream: voice back as `streamAudio`, or in binary messages where the address says reply=binary.

    It has no command that throws away what it holds, so packets leave as they are spoken and little is there;
    what a stall has held back is dropped here.
    """

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        reply = request.query.get("reply", "json")
        if reply not in ("json", "binary"):
            raise InvalidInput("reply", "must be json or binary")
        self._is_binary = reply == "binary"

    def audio(self, packet: ReplyPacket) -> Sequence[Message]:
        """A packet, with its rate where there is a place for it."""
        if self._is_binary:
            return (packet.data,)
        data = base64.b64encode(packet.data).decode()
        return (_command("streamAudio", audioDataType="raw", sampleRate=self._output.rate_hz, audioData=data),)


def jambonz(settings: GatewaySettings) -> OpenWire:
    """jambonz's verb `listen`."""
    return lambda request: AudioForkWire(request, "audio.jambonz.org", has_transfer=False)


def audio_fork(settings: GatewaySettings) -> OpenWire:
    """mod_audio_fork by itself, driven by a dialplan or an application of drachtio."""
    return lambda request: AudioForkWire(request, "audio.drachtio.org", has_transfer=True)


def audio_stream(settings: GatewaySettings) -> OpenWire:
    """mod_audio_stream."""
    return AudioStreamWire


def _fields(message: str) -> Mapping[str, Any]:
    """The fields of a JSON object; of any other text none: the dialplan may say what it likes."""
    try:
        return json_object(message)
    except InvalidInput:
        return {}


def _rate_hz(given: Mapping[str, Any], name: str, usual_hz: int) -> int:
    """A sample rate, also as FreeSWITCH's commands write it: 16k."""
    value = given.get(name, usual_hz)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isascii() and len(value) <= _MOST_RATE_CHARACTERS:
        digits = value.removesuffix("k")
        if digits.isdigit():
            return int(digits) * (1 if digits == value else 1000)
    raise InvalidInput(name, "must be a sample rate in Hz")


def _command(kind: str, **data: object) -> str:
    return json.dumps({"type": kind, "data": data} if data else {"type": kind}, separators=(",", ":"))
