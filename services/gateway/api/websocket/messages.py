"""Messages of /api/chat in bytes: the first one is the type, the rest the payload (docs/websocket.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class Kind(IntEnum):
    """Message types. Others are discarded."""

    HANDSHAKE = 0
    AUDIO = 1
    TEXT = 2
    CONTROL = 3
    METADATA = 4
    ERROR = 5
    PING = 6
    COLOURED_TEXT = 7


HANDSHAKE = bytes([Kind.HANDSHAKE])
"""The short form; upstream's other servers append eight zeros, which no client reads."""

PING = bytes([Kind.PING])


def audio(pages: bytes) -> bytes:
    """A message with Ogg pages."""
    return bytes([Kind.AUDIO]) + pages


def text(piece: str) -> bytes:
    """A message with a piece of what Moshi says."""
    return bytes([Kind.TEXT]) + piece.encode()


def metadata(values: Mapping[str, Any]) -> bytes:
    """A message with anything else, as JSON."""
    return bytes([Kind.METADATA]) + json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()


def error(sentence: str) -> bytes:
    """A message that says why the server is about to close."""
    return bytes([Kind.ERROR]) + sentence.encode()
