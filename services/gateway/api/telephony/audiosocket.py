"""Asterisk's AudioSocket: messages of one byte of kind, two of length and what they hold, on a TCP connection.

Asterisk connects, says a UUID and then sends the caller's voice as it comes. It has no queue: what it gets it hands on
at once, so packets leave here one at a time, 20 ms apart. A message whose parts come more than 5 ms apart ends the call
there, so each fits into one segment of TCP; so does any kind but voice and hang-up.
"""

from __future__ import annotations

import ipaddress
import json
import struct
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import IntEnum
from pathlib import Path

from moshi_cluster.services.common.errors import CallerLost, InvalidInput, SessionError
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.api.telephony.options import CallOptions, parse_options
from moshi_cluster.services.gateway.api.telephony.wire import (
    Control,
    Incoming,
    Key,
    Message,
    Opening,
    OpenWire,
    Voice,
    Wire,
)
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.settings import PREFIX, GatewaySettings

_HOST = f"{PREFIX}AUDIOSOCKET_HOST"
_PROFILES = f"{PREFIX}AUDIOSOCKET_PROFILES"


class Kind(IntEnum):
    """Kinds of message, as include/asterisk/res_audiosocket.h has them; voice is from 0x10 on, by its rate."""

    HANG_UP = 0x00
    UUID = 0x01
    DTMF = 0x03
    ERROR = 0xFF


RATES_HZ: Mapping[int, int] = {
    0x10: 8_000,
    0x11: 12_000,
    0x12: 16_000,
    0x13: 24_000,
    0x14: 32_000,
    0x15: 44_100,
    0x16: 48_000,
    0x17: 96_000,
    0x18: 192_000,
}
"""By kind: little-endian samples of 16 bits."""

EVERY_OTHER = uuid.UUID(int=0)
"""In place of a UUID, in the profiles."""

_FASTEST_HZ = 48_000
_HEADER = struct.Struct(">BH")
_UUID_BYTES = 16
_MOST_EARLY_KEYS = 32
_PACKET_MS, _SHORT_PACKET_MS = 20, 10
_MOST_PACKET_BYTES = 1_400  # of a segment, whatever tunnels lie between


class AudioSocket(Wire):
    """One connection of Asterisk's application AudioSocket or its channel driver."""

    carries_token = False

    def __init__(self, profiles: Mapping[uuid.UUID, CallOptions]) -> None:
        """profiles: what a connection asks for, by its UUID; that of `EVERY_OTHER` stands for those not named."""
        self._profiles = profiles
        self._buffer = bytearray()  # at most one message that is not whole
        self._options: CallOptions | None = None
        self._kind = 0  # of the voice, both ways; 0 before the first
        self._early_keys: list[Key] = []  # before the first voice

    # --- from Asterisk

    def parse(self, message: Message) -> Sequence[Incoming]:
        """Bytes cut anywhere. Raises InvalidInput naming the part of the message, CallerLost for an error there."""
        assert isinstance(message, bytes), "a stream has no texts"
        self._buffer += message
        return [item for kind, payload in self._whole() for item in self._take(kind, payload)]

    def _whole(self) -> Iterator[tuple[int, bytes]]:
        while len(self._buffer) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._buffer)
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            yield kind, payload

    def _take(self, kind: int, payload: bytes) -> Sequence[Incoming]:
        if kind == Kind.HANG_UP:
            return (Control.END,)
        if kind == Kind.ERROR:
            raise CallerLost("the far end reports an error", code=payload[:8].hex())
        if kind == Kind.UUID:
            return self._identify(payload)
        if self._options is None:
            raise InvalidInput("kind", "a connection must begin with its UUID", got=kind)
        if kind in RATES_HZ:
            return self._voice(kind, payload)
        if kind == Kind.DTMF:
            return self._press(_key(payload))
        return (Control.UNKNOWN,)

    def _identify(self, payload: bytes) -> Sequence[Incoming]:
        if len(payload) != _UUID_BYTES:
            raise InvalidInput("uuid", f"must be {_UUID_BYTES} bytes", got_bytes=len(payload))
        if self._options is not None:
            raise InvalidInput("uuid", "must come once")
        name = uuid.UUID(bytes=payload)
        options = self._profiles.get(name) or self._profiles.get(EVERY_OTHER, CallOptions())
        self._options = replace(options, label=options.label or str(name))
        return ()

    def _press(self, key: Key) -> Sequence[Incoming]:
        if self._kind:
            return (key,)
        self._early_keys.append(key)
        if len(self._early_keys) > _MOST_EARLY_KEYS:
            raise InvalidInput("dtmf", f"at most {_MOST_EARLY_KEYS} keys may come before the first voice")
        return ()

    def _voice(self, kind: int, payload: bytes) -> Sequence[Incoming]:
        """The first voice says how the call sounds: no message before it does."""
        assert self._options is not None
        voice = (Voice(payload),) if payload else ()
        if self._kind == kind:
            return voice
        if self._kind:
            raise InvalidInput("kind", "the rate must not change within a call", got=kind, first=self._kind)
        self._kind = kind
        return (_opening(kind, self._options), *self._early_keys, *voice)

    # --- to Asterisk

    def audio(self, packet: ReplyPacket) -> Sequence[Message]:
        """One message in one piece."""
        return (message(self._kind, packet.data),)

    def end(self, error: SessionError | None) -> Sequence[Message]:
        """Asks for the hang-up, so that the dialplan goes on."""
        return (message(Kind.HANG_UP),)


def message(kind: int, payload: bytes = b"") -> bytes:
    """One message. Raises struct.error for a payload above 65535 bytes."""
    return _HEADER.pack(kind, len(payload)) + payload


def audiosocket(settings: GatewaySettings) -> OpenWire:
    """The wire as `wires` has it. Raises SettingError for profiles that cannot be read, or where anybody may call."""
    if not settings.telephony_networks and (settings.token_file or not _is_loopback(settings.audiosocket_host)):
        raise SettingError(f"{_HOST}: AudioSocket knows no token: needs {PREFIX}TELEPHONY_NETWORKS to say who may call")
    profiles = read_profiles(settings.audiosocket_profiles)
    return lambda request: AudioSocket(profiles)


def read_profiles(path: str) -> Mapping[uuid.UUID, CallOptions]:
    """A JSON file of options by UUID, `*` for every other connection; no path: none. Raises SettingError."""
    if not path:
        return {}
    try:
        given = json.loads(Path(path).read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SettingError(f"{_PROFILES}: {path} cannot be read: {type(error).__name__}") from None
    if not isinstance(given, dict):
        raise SettingError(f"{_PROFILES}: {path}: expected an object of options by UUID")
    return dict(_profile(name, options) for name, options in given.items())


def _profile(name: str, options: object) -> tuple[uuid.UUID, CallOptions]:
    try:
        key = EVERY_OTHER if name == "*" else uuid.UUID(name)
    except ValueError:
        raise SettingError(f"{_PROFILES}: expected a UUID or *, got {name!r}") from None
    if not isinstance(options, dict):
        raise SettingError(f"{_PROFILES}: {name}: expected an object of options")
    try:
        return key, parse_options(options)
    except InvalidInput as error:
        raise SettingError(f"{_PROFILES}: {name}: {error}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(payload: bytes) -> Key:
    if len(payload) != 1:
        raise InvalidInput("dtmf", "must be one byte", got_bytes=len(payload))
    return Key(payload.decode("latin-1"))


def _opening(kind: int, options: CallOptions) -> Opening:
    rate_hz = RATES_HZ[kind]
    if rate_hz > _FASTEST_HZ:
        raise InvalidInput("kind", f"voice must be at most {_FASTEST_HZ} Hz", got_hz=rate_hz)
    audio_format = AudioFormat(Encoding.PCM_S16LE, rate_hz)
    packet_bytes = _PACKET_MS * rate_hz * audio_format.block_bytes // 1000
    packet_ms = _PACKET_MS if packet_bytes <= _MOST_PACKET_BYTES else _SHORT_PACKET_MS
    return Opening(audio_format, audio_format, packet_ms, options)
