"""Fields of JSON messages, checked: whatever is in them came from outside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moshi_cluster.services.common.errors import InvalidInput

_MOST_DIGITS = 18


def section(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object within a message. Raises InvalidInput naming it."""
    value = fields.get(name)
    if not isinstance(value, dict):
        raise InvalidInput(name, "must be an object")
    return value


def text(fields: Mapping[str, Any], name: str, field: str) -> str:
    """A text. field: its name for the error. Raises InvalidInput."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidInput(field, "must be text")
    return value


def number(fields: Mapping[str, Any], name: str, field: str) -> int:
    """A whole number from 0 on, which some systems write as text. Raises InvalidInput."""
    value = fields.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**_MOST_DIGITS:
        return value
    raise InvalidInput(field, "must be a whole number")


def json_object(message: str | bytes) -> Mapping[str, Any]:
    """The fields of a text that is a JSON object. Raises InvalidInput."""
    try:
        fields = json.loads(message) if isinstance(message, str) else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise InvalidInput("message", "must be a text with a JSON object")
    return fields
