"""Genesys Cloud: AudioHook version 2, of its Audio Connector, which plays what is sent back to the caller.

The client, Genesys, opens and closes; the server may ask it to close. A session that is lost may come back as another
one that names it (`continuedSessions`): then the conversation goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from moshi_cluster.services.common.errors import CallerLost, InvalidInput, SessionError, Unauthenticated
from moshi_cluster.services.gateway.api.telephony.audiohook_keys import read_keys, require_signature
from moshi_cluster.services.gateway.api.telephony.audiohook_media import Media, choose
from moshi_cluster.services.gateway.api.telephony.audiohook_session import (
    NO_ID,
    AudioHookSession,
    duration_ms,
    identity,
)
from moshi_cluster.services.gateway.api.telephony.fields import number, section, text
from moshi_cluster.services.gateway.api.telephony.options import CallOptions, parse_options
from moshi_cluster.services.gateway.api.telephony.wire import (
    Answer,
    Control,
    Incoming,
    Key,
    Message,
    Opening,
    OpenWire,
    Request,
    Voice,
    Wire,
)
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.events import CallEvent, EventKind, Started
from moshi_cluster.services.gateway.settings import GatewaySettings

_REPLY_PACKET_MS = 40
_MESSAGE_MS = 200
"""Of voice in one message: the client takes few messages a second, and answers more with error 429."""
_MOST_SESSIONS = 16


class AudioHookWire(Wire):
    """One session."""

    def __init__(self, request: Request, is_authenticated: bool) -> None:
        self.is_authenticated = is_authenticated
        self._organization = request.headers.get("Audiohook-Organization-Id", "").lower()
        # Whose conversations those are that a session may go on with.
        self.token = request.headers.get("X-API-KEY") or None
        self._query = request.query
        self._session = AudioHookSession(request.headers.get("Audiohook-Session-Id", "").lower() or None)
        self._media: Media | None = None
        self._is_up = self._is_closing = False
        self._unsent = b""
        self._packets = 0
        self._position_ms = 0.0  # of the next packet
        self._was_on_hold = False

    # --- from Genesys

    def parse(self, message: Message) -> Sequence[Incoming]:
        """Binary is voice. Raises InvalidInput naming the parameter; CallerLost where the client is to come back."""
        if isinstance(message, bytes):
            return self._voice(message)
        kind, parameters = self._session.read(message)
        if kind not in _TAKES:
            return (Control.UNKNOWN,)
        if self._media is None and kind not in ("open", "ping", "close", "error"):
            raise InvalidInput("type", "must be open before anything else")
        return _TAKES[kind](self, parameters)

    def _open(self, parameters: Mapping[str, Any]) -> Sequence[Incoming]:
        if self._media is not None:
            raise InvalidInput("type", "must be open only once")
        organization = identity(parameters, "organizationId", "parameters.organizationId")
        if self._organization not in ("", organization):
            raise Unauthenticated("the organization is not the one that the request named")
        self._media = choose(parameters.get("media"))
        if identity(parameters, "conversationId", "parameters.conversationId") == NO_ID:
            return (Answer(self._opened),)  # a probe: Genesys asks whether there is a server, and closes
        options = self._options(parameters)
        return (Opening(self._media.audio_format, self._media.audio_format, _REPLY_PACKET_MS, options, paced=False),)

    def _options(self, parameters: Mapping[str, Any]) -> CallOptions:
        """What the integration was configured with, then what the flow has set for this call."""
        given = {**self._query}
        for name in ("customConfig", "inputVariables"):
            given |= section(parameters, name) if name in parameters else {}
        options = parse_options(given)
        return replace(options, resume=_continued(parameters) or options.resume, key=self._session.id)

    def _voice(self, data: bytes) -> Sequence[Incoming]:
        if self._media is None or not self._is_up:
            raise InvalidInput("audio.data", "must not come before the session is opened")
        data = self._media.caller(data)
        self._packets += 1
        # Without its time a packet follows the one before it, wherever that was.
        voice = Voice(data, self._packets, None if self._was_on_hold else round(self._position_ms))
        self._was_on_hold = False
        self._position_ms += len(data) * 1000 / self._media.audio_format.bytes_per_s
        return (voice,)

    def _close(self, parameters: Mapping[str, Any]) -> Sequence[Incoming]:
        """`closed` is the last message: it leaves by `end`, behind whatever is on its way."""
        self._is_closing = True
        if text(parameters, "reason", "parameters.reason") == "reconnect":
            raise CallerLost("the client is to come back")
        return (Control.END,)

    def _discarded(self, parameters: Mapping[str, Any]) -> Sequence[Incoming]:
        """Voice was lost before it was sent."""
        self._position_ms = max(self._position_ms, _span_end_ms(parameters))
        return ()

    def _paused(self, parameters: Mapping[str, Any]) -> Sequence[Incoming]:
        """On hold."""
        return (Control.PAUSE,)

    def _resumed(self, parameters: Mapping[str, Any]) -> Sequence[Incoming]:
        """What was missing until the caller is back was not lost."""
        self._position_ms = max(self._position_ms, _span_end_ms(parameters))
        self._was_on_hold = True
        return (Control.RESUME,)

    def _update(self, parameters: Mapping[str, Any]) -> Sequence[Incoming]:
        """The language has changed, which Moshi does not."""
        text(parameters, "language", "parameters.language")
        return (Answer(lambda: self._session.write("updated")),)

    def _error(self, parameters: Mapping[str, Any]) -> Sequence[Incoming]:
        """The client could not use something, 429 for too many messages; it goes on, or closes."""
        number(parameters, "code", "parameters.code")
        return (Control.UNKNOWN,)

    def _ping(self, parameters: Mapping[str, Any]) -> Sequence[Incoming]:
        return (Answer(lambda: self._session.write("pong")),)

    def _dtmf(self, parameters: Mapping[str, Any]) -> Sequence[Incoming]:
        return (Key(text(parameters, "digit", "parameters.digit")),)

    def _played(self, parameters: Mapping[str, Any]) -> Sequence[Incoming]:
        """Playback has begun or come to an end: it never stays so, for Moshi is always heard."""
        return ()

    # --- to Genesys

    def started(self, started: Started) -> Sequence[Message]:
        """The client sends voice from now on."""
        return (self._opened(),)

    def _opened(self) -> str:
        assert self._media is not None, "no open"
        self._is_up = True
        return self._session.write("opened", startPaused=False, media=[self._media.offer])

    def audio(self, packet: ReplyPacket) -> Sequence[Message]:
        """Voice in messages of 1600 bytes of mu-law."""
        assert self._media is not None, "no open"
        self._unsent += packet.data
        message_bytes = self._media.audio_format.bytes_per_s * _MESSAGE_MS // 1000
        if self._is_closing or len(self._unsent) < message_bytes:
            return ()
        data, self._unsent = self._unsent[:message_bytes], self._unsent[message_bytes:]
        return (data,)

    def event(self, event: CallEvent) -> Sequence[Message]:
        """Throws away what waits at the far end, too."""
        if event.kind is not EventKind.CLEARED:
            return ()
        self._unsent = b""
        return (self._session.write("event", entities=[{"type": "barge_in", "data": {}}]),)

    def ask_to_close(self, error: SessionError | None) -> Sequence[Message]:
        """The client closes, asked or not."""
        if self._is_closing:
            return ()
        if error is None:
            return *self._rest(), self._session.write("disconnect", reason="completed")
        reason = "unauthorized" if isinstance(error, Unauthenticated) else "error"
        return (self._session.write("disconnect", reason=reason, info=str(error)),)

    def end(self, error: SessionError | None) -> Sequence[Message]:
        """The answer to `close`."""
        return (self._session.write("closed"),) if self._is_closing else ()

    def transfer(self, to: str) -> Sequence[Message]:
        """The flow goes on behind its Audio Connector, with the variables `action` and `transfer_to`."""
        variables = {"action": "transfer", "transfer_to": to}
        return *self._rest(), self._session.write("disconnect", reason="completed", outputVariables=variables)

    def _rest(self) -> Sequence[Message]:
        data, self._unsent = self._unsent, b""
        return (data,) if data else ()


_TAKES: Mapping[str, Callable[[AudioHookWire, Mapping[str, Any]], Sequence[Incoming]]] = {
    "open": AudioHookWire._open,
    "close": AudioHookWire._close,
    "discarded": AudioHookWire._discarded,
    "paused": AudioHookWire._paused,
    "resumed": AudioHookWire._resumed,
    "update": AudioHookWire._update,
    "error": AudioHookWire._error,
    "ping": AudioHookWire._ping,
    "dtmf": AudioHookWire._dtmf,
    "playback_started": AudioHookWire._played,
    "playback_completed": AudioHookWire._played,
}


def genesys(settings: GatewaySettings) -> OpenWire:
    """With a file of keys every request must be signed with one of them. Raises SettingError."""
    keys = read_keys(settings.genesys_key_file) if settings.genesys_key_file else {}

    def open_wire(request: Request) -> Wire:
        if keys:
            require_signature(request, keys, time.time())
        return AudioHookWire(request, is_authenticated=bool(keys))

    return open_wire


def _continued(parameters: Mapping[str, Any]) -> str | None:
    """The last session that this one goes on with. Raises InvalidInput."""
    sessions = parameters.get("continuedSessions", [])
    if not isinstance(sessions, list) or len(sessions) > _MOST_SESSIONS:
        raise InvalidInput("parameters.continuedSessions", f"must be a list of at most {_MOST_SESSIONS}")
    if not sessions:
        return None
    last = sessions[-1] if isinstance(sessions[-1], dict) else {}
    return identity(last, "id", "parameters.continuedSessions.id")


def _span_end_ms(parameters: Mapping[str, Any]) -> float:
    start_ms = duration_ms(parameters, "start", "parameters.start")
    return start_ms + duration_ms(parameters, "discarded", "parameters.discarded")
