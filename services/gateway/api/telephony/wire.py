"""Wire: what one telephone system speaks, from its messages to what a call understands and back. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from moshi_cluster.services.common.errors import SessionError, Unsupported
from moshi_cluster.services.gateway.api.telephony.options import CallOptions
from moshi_cluster.services.gateway.audio.formats import AudioFormat
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.events import CallEvent, Started
from moshi_cluster.services.gateway.settings import GatewaySettings

Message = str | bytes
"""A text or a binary message of a WebSocket; of a TCP stream bytes, cut anywhere on their way in."""


@dataclass(frozen=True)
class Request:
    """The request that opened a connection; of a TCP stream only the client."""

    client: str
    """Their address."""
    target: str = field(default="", repr=False)
    """Path and query, as they were sent."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def hosts(self) -> Sequence[str]:
        """Names by which the client may have called this server, those that a proxy has seen included."""
        names = [self.headers.get("Host", ""), *self.headers.get("X-Forwarded-Host", "").split(",")]
        return list(dict.fromkeys(name.strip() for name in names if name.strip()))


@dataclass(frozen=True)
class Opening:
    """A call begins."""

    input_format: AudioFormat
    output_format: AudioFormat
    packet_ms: int
    """Length of the packets that the wire wants, 10 to 100."""
    options: CallOptions = CallOptions()
    paced: bool = True
    """Packets leave one at a time as they are spoken; else as soon as they are there, and the far end holds them."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A packet of the caller's voice."""

    data: bytes
    number: int | None = None
    """Position in the stream, one more with each packet; None where packets have none and cannot be lost."""
    time_ms: int | None = None
    """When it was spoken, where the wire says so exactly: packets may be lost before they are numbered."""


@dataclass(frozen=True, slots=True)
class Key:
    """A press of a key."""

    digit: str


@dataclass(frozen=True, slots=True)
class Played:
    """The far end has played, or thrown away, everything before a mark."""

    mark: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A message that the wire wants at once, beside the voice."""

    message: Message | Callable[[], Message]
    """Or what makes it, called when it leaves: where messages are numbered in the order in which they leave."""

    def write(self) -> Message:
        """The message, to be sent before another one is made."""
        return self.message() if callable(self.message) else self.message


class Control(Enum):
    """What else a wire says."""

    HOLD = auto()
    """The far end takes no more voice for now; what waits is bounded, the oldest is dropped."""
    GO_ON = auto()
    """The far end takes voice again."""
    PAUSE = auto()
    """The caller is to hear nothing: what Moshi says meanwhile is dropped."""
    RESUME = auto()
    """The caller hears Moshi again."""
    CLEAR = auto()
    """Throw away what has not been heard."""
    UNKNOWN = auto()
    """Something of a later version of the wire, passed over and counted."""
    END = auto()
    """The call is over; what follows is not looked at."""


Incoming = Opening | Voice | Key | Played | Answer | Control


class Wire:
    """One connection. Everything but `parse` and `audio` is for those wires that have it."""

    subprotocols: Sequence[str] = ()
    """Of a WebSocket; the first one that the client offers, too, is chosen."""
    is_authenticated = False
    """Whether the request proved whose it is, by a signature: no token is asked for."""
    token: str | None = None
    """That the request shows in a way of the wire's own."""
    left_out_packets = 0
    """Packets of voice that it did not send, because the far end holds too many."""
    carries_token = True
    """Whether a system can show a token at all; without, it is taken from `telephony_networks` alone."""

    def parse(self, message: Message) -> Sequence[Incoming]:
        """What a message says, in order. Raises InvalidInput naming the field, Unauthenticated."""
        raise NotImplementedError

    def audio(self, packet: ReplyPacket) -> Sequence[Message]:
        """What Moshi says; packets may be kept until there are enough."""
        raise NotImplementedError

    def started(self, started: Started) -> Sequence[Message]:
        """The call is up."""
        return ()

    def event(self, event: CallEvent) -> Sequence[Message]:
        """Something happened: CLEARED is what a far end that holds voice has to know."""
        return ()

    def mark(self, name: str) -> Sequence[Message]:
        """Asks to be told, by `Played`, once everything so far is played. name: letters and digits."""
        return ()

    def ask_to_close(self, error: SessionError | None) -> Sequence[Message]:
        """Asks the far end to close, where a call is closed by agreement; `end` follows, and then the connection."""
        return ()

    def end(self, error: SessionError | None) -> Sequence[Message]:
        """The gateway ends the call: well, or with an error; before the connection is closed."""
        return ()

    def transfer(self, to: str) -> Sequence[Message]:
        """Hands the caller to somebody else. Raises Unsupported, InvalidInput."""
        raise Unsupported("this wire transfers no call")

    def send_digits(self, digits: str) -> Sequence[Message]:
        """Sends tones to the caller. Raises Unsupported, InvalidInput."""
        raise Unsupported("this wire sends no keys")


OpenWire = Callable[[Request], Wire]
"""Makes the wire of a connection. Raises Unauthenticated or InvalidInput for a request that is refused."""

WireKind = Callable[[GatewaySettings], OpenWire]
"""Reads what a wire needs, once at the start. Raises SettingError."""
