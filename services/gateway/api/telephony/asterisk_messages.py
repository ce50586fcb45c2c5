"""Control messages of Asterisk's chan_websocket, as JSON or as plain text: read and written, without I/O.

As channels/chan_websocket.c has them in Asterisk 22.9 and 23.4; docs.asterisk.org calls the plain text deprecated, and
it is still the default. Events come from Asterisk, commands go to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moshi_cluster.services.common.errors import InvalidInput

MOST_COMMAND_BYTES = 128
"""Asterisk passes over a longer command without a word to its sender."""

_POSITIONAL = frozenset({"MEDIA_MARK_PROCESSED", "MEDIA_BUFFERING_COMPLETED"})  # their id stands without its name


@dataclass(frozen=True)
class AsteriskEvent:
    """One event, its parameters by name; numbers stay numbers in JSON and are digits in plain text."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    is_json: bool = True

    def text(self, name: str, default: str | None = None) -> str:
        """A parameter that is text. Raises InvalidInput naming it; also when it is missing and has no default."""
        value = self.parameters.get(name, default)
        if not isinstance(value, str):
            raise InvalidInput(f"{self.name}.{name}", "must be text")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        """A parameter that is a whole number, not negative. Raises InvalidInput as `text` does."""
        value = self.parameters.get(name, default)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
            return value
        raise InvalidInput(f"{self.name}.{name}", "must be a whole number")


def parse_event(message: str) -> AsteriskEvent:
    """Reads a text message. Raises InvalidInput for what is neither a JSON object with an event nor a line."""
    text = message.strip()
    return _parse_json(text) if text.startswith("{") else _parse_line(text)


def command(name: str, is_json: bool, correlation_id: str = "") -> str:
    """A command in one form or the other. Raises ValueError for one that Asterisk would not read."""
    if is_json:
        parts = {"command": name} | ({"correlation_id": correlation_id} if correlation_id else {})
        message = json.dumps(parts, separators=(",", ":"))
    else:
        message = f"{name} {correlation_id}".rstrip()
    if len(message.encode()) > MOST_COMMAND_BYTES:
        raise ValueError(f"correlation_id: {name} must be at most {MOST_COMMAND_BYTES} bytes")
    return message


def _parse_json(text: str) -> AsteriskEvent:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput("message", "is no JSON") from None
    if not isinstance(values, dict) or not isinstance(name := values.pop("event", None), str):
        raise InvalidInput("event", "must be text")
    return AsteriskEvent(name, values)


def _parse_line(text: str) -> AsteriskEvent:
    """`NAME key:value key:value`, or `NAME id`; the text of an error is all that is left of its line."""
    name, _, rest = text.partition(" ")
    if not name.isascii() or not name.replace("_", "").isalpha():
        raise InvalidInput("message", "is no event of Asterisk")
    if name in _POSITIONAL:
        return AsteriskEvent(name, {"correlation_id": rest}, is_json=False)
    rest, _, error_text = rest.partition("error_text:")
    parameters = dict(part.split(":", 1) for part in rest.split(" ") if ":" in part)
    if error_text:
        parameters["error_text"] = error_text
    return AsteriskEvent(name, parameters, is_json=False)
