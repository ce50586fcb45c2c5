"""Errors that were logged with a traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterable

_POLLER = "PollerCompletionQueue"  # gRPC's: what several threads of one process cost it, and nobody else


def tracebacks(records: Iterable[logging.LogRecord]) -> list[str]:
    """What was logged with one, but for gRPC's own poller."""
    return [
        text
        for record in records
        if (record.exc_info or "Traceback" in record.getMessage()) and _POLLER not in (text := record.getMessage())
    ]
