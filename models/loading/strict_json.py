"""JSON in which every key stands once: configurations and headers that come from outside."""

from __future__ import annotations

import json
from typing import Any

_MOST_NAME = 60


def parse_json(text: str | bytes) -> Any:
    """The value in a JSON text, in time proportional to its length. Raises ValueError, also for a key that repeats."""
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{_first_repeated(pairs)[:_MOST_NAME]!r} is there twice")
    return found


def _first_repeated(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("unreachable: fewer keys than pairs")
