"""Spoiler of what a simulated phone sends: fields and bytes changed, cut, doubled; the same for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 10**30, "", "0", "-1", "x" * 5000, "\0", "é", [], {}, [[]]),
    *("MULAW", "audio/x-l16", "start", "stop", "media", "NaN", "0" * 40),
)
_DEEP = "[" * 5000


class Spoiler:
    """Counts what goes through it, and spoils a share of it."""

    def __init__(self, seed: int, has_texts: bool, share: float = 0.5) -> None:
        """has_texts: the connection has, beside bytes."""
        self.messages = 0
        self._has_texts = has_texts
        self._random = random.Random(seed)
        self._share = share

    def __call__(self, message: str | bytes) -> str | bytes:
        """The message, or what is left of it."""
        self.messages += 1
        if self._random.random() >= self._share:
            return message
        if isinstance(message, bytes):
            return self._binary(message)
        return self._random.choice((self._fields, self._fields, self._text))(message)

    def _binary(self, message: bytes) -> str | bytes:
        kind = self._random.randrange(8)
        if kind == 0:
            return self._random.randbytes(self._random.choice((0, 1, 2, 3, 100, 3000)))
        if kind == 1 and self._has_texts:
            return message.decode("latin-1")
        return self._bytes(bytearray(message))

    def _bytes(self, message: bytearray) -> bytes:
        for _ in range(self._random.randrange(1, 4)):
            if not message:
                break
            place = self._random.randrange(len(message))
            match self._random.randrange(3):
                case 0:
                    message[place] = self._random.randrange(256)
                case 1:
                    del message[place:]
                case _:
                    message[place:place] = message[place : place + 8]
        return bytes(message)

    def _text(self, message: str) -> str | bytes:
        match self._random.randrange(8):
            case 0:
                return message.encode()
            case 1:
                return _DEEP
            case 2:
                return ""
            case _:
                return self._bytes(bytearray(message.encode())).decode("utf-8", "replace")

    def _fields(self, message: str) -> str | bytes:
        """One field of a JSON object, somewhere in it."""
        try:
            fields = json.loads(message)
        except ValueError:
            return self._text(message)
        path = list(self._path(fields))
        if not path:
            return message
        place, name = path[-1]
        if self._random.random() < 0.3:
            del place[name]
        else:
            place[name] = self._random.choice(_VALUES)
        return json.dumps(fields)

    def _path(self, fields: Any) -> Iterator[tuple[dict[str, Any], str]]:
        """From a field of the message to one within it, and so on."""
        while isinstance(fields, dict) and fields and self._random.random() < 0.8:
            name = self._random.choice(list(fields))
            yield fields, name
            fields = fields[name]
