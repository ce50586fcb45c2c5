"""Live calls of a gateway, for an operator's controller: found by their session, and told what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from moshi_cluster.services.common.errors import InvalidInput, NoSuchCall, Unsupported
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.key_presses import DIGITS
from moshi_cluster.services.gateway.calls.record import CallRecord

_MOST_TO_CHARACTERS = 128
_MOST_DIGITS = 32


class FarEnd:
    """What carries a call, as far as it takes commands beside voice: none here."""

    async def transfer(self, to: str) -> None:
        """Hands the caller to somebody else. Raises Unsupported, InvalidInput."""
        raise Unsupported("what carries the call transfers none")

    async def send_digits(self, digits: str) -> None:
        """Plays tones to the caller. Raises Unsupported, InvalidInput."""
        raise Unsupported("what carries the call sends no keys")


NO_COMMANDS = FarEnd()


@dataclass(frozen=True)
class LiveCall:
    """A call that is up."""

    record: CallRecord
    label: str
    call: Call
    far_end: FarEnd
    since_s: float = field(default_factory=time.monotonic)

    def hang_up(self) -> None:
        """Ends it as its caller would."""
        self.call.hang_up()

    async def transfer(self, to: str) -> None:
        """Hands the caller to somebody else. Raises Unsupported, InvalidInput."""
        if not (1 <= len(to) <= _MOST_TO_CHARACTERS and to.isascii() and to.isprintable()):
            raise InvalidInput("to", f"must be 1 to {_MOST_TO_CHARACTERS} printable ASCII characters")
        await self.far_end.transfer(to)

    async def send_digits(self, digits: str) -> None:
        """Plays tones to the caller. Raises Unsupported, InvalidInput."""
        if not 1 <= len(digits) <= _MOST_DIGITS or set(digits) - set(DIGITS):
            raise InvalidInput("digits", f"must be 1 to {_MOST_DIGITS} of {DIGITS}")
        await self.far_end.send_digits(digits)


class LiveCalls:
    """By session id, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: dict[str, LiveCall] = {}

    def __iter__(self) -> Iterator[LiveCall]:
        return iter(list(self._calls.values()))  # a call may end meanwhile

    def __len__(self) -> int:
        return len(self._calls)

    @contextmanager
    def up(self, live: LiveCall) -> Iterator[None]:
        """A call that can be found while the context lasts."""
        self._calls[live.record.session_id] = live
        try:
            yield
        finally:
            del self._calls[live.record.session_id]

    def find(self, session_id: str) -> LiveCall:
        """Raises NoSuchCall."""
        if session_id not in self._calls:
            raise NoSuchCall("no call of this gateway has the session id")
        return self._calls[session_id]
