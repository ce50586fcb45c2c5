"""ghz configuration keys: those that it reads; it ignores every other one without a word.

Source: the JSON tags and field types of `runner.Config`, runner/config.go of github.com/bojand/ghz at v0.121.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")

_TEXT = """
    proto protoset call cacert cert key cname authority data-file binary-file metadata-file output format
    name debug host lb-strategy max-recv-message-size max-send-message-size
    load-schedule concurrency-schedule duration-stop
"""
_WHOLE = """
    skipFirst total concurrency concurrency-start concurrency-end connections rps stream-call-count cpus
    load-start load-end
"""
_SIGNED = "concurrency-step load-step"
_SWITCH = """
    count-errors skipTLS insecure async stream-dynamic-messages enable-compression disable-template-functions
    disable-template-data
"""
_DURATION = """
    concurrency-step-duration concurrency-max-duration duration max-duration timeout stream-interval
    stream-call-duration connect-timeout keepalive load-step-duration load-max-duration
"""
_TEXT_MAP = "metadata tags reflect-metadata"
_LIST = "import-paths"
_ANY = "data"

KINDS: Mapping[str, str] = {
    key: kind
    for kind, keys in {
        "text": _TEXT,
        "whole": _WHOLE,
        "signed": _SIGNED,
        "switch": _SWITCH,
        "duration": _DURATION,
        "text map": _TEXT_MAP,
        "list": _LIST,
        "any": _ANY,
    }.items()
    for key in keys.split()
}


def problems(config: Mapping[str, Any]) -> list[str]:
    """What ghz would ignore or refuse, a line each."""
    unread = [f"{key}: not a key that ghz reads" for key in config if key not in KINDS]
    wrong = [f"{key}: must be {KINDS[key]}" for key, value in config.items() if key in KINDS and not _fits(key, value)]
    return unread + wrong


def seconds(duration: str) -> float:
    """A Go duration, for example `1m30s` or `20ms`. Raises ValueError."""
    parts = _DURATION_PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"not a duration: {duration!r}")
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def _fits(key: str, value: Any) -> bool:
    match KINDS[key]:
        case "text":
            return isinstance(value, str)
        case "whole":
            return type(value) is int and value >= 0
        case "signed":
            return type(value) is int
        case "switch":
            return isinstance(value, bool)
        case "duration":
            return isinstance(value, str) and _is_duration(value)
        case "text map":
            return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
        case "list":
            return isinstance(value, list) and all(isinstance(text, str) for text in value)
        case _:
            return isinstance(value, dict | list)


def _is_duration(value: str) -> bool:
    try:
        seconds(value)
    except ValueError:
        return False
    return True
