"""Lines of a check's findings that are no rows of its table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """What is told of something."""

    text: str
    holds: bool = True  # as promised
