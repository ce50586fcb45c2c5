"""Limits of what is logged over and over: a flood fills no disk, and is told by its count."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class RepeatLimit:
    """How often one place may log: `burst` lines at once, `per_s` on average."""

    burst: float
    per_s: float


OWN = RepeatLimit(burst=200, per_s=20)
"""Of our own lines: a hundred calls that begin and end at once are all there."""
AUDIT = RepeatLimit(burst=10_000, per_s=500)
"""Of the line that each call ends with: only who may begin calls at all makes one, so this is for a flood alone."""
EDGE = RepeatLimit(burst=10, per_s=0.2)
"""Of a library that handles what strangers send, as a whole."""


class RepeatLimits:
    """Counts the lines of each place, one in our code or a library's logger. Times in seconds on one clock."""

    def __init__(self) -> None:
        self._sites: dict[Hashable, _Site] = {}  # bounded: one for each place that logs

    def take(self, site: Hashable, now_s: float, limit: RepeatLimit = OWN) -> int | None:
        """How many lines of this place were held back since the last one; None: this one is held back as well."""
        known = self._sites.setdefault(site, _Site(limit.burst, now_s))
        known.left = min(limit.burst, known.left + (now_s - known.last_s) * limit.per_s)
        known.last_s = now_s
        if known.left < 1:
            known.held_back += 1
            return None
        known.left -= 1
        held_back, known.held_back = known.held_back, 0
        return held_back


@dataclass
class _Site:
    left: float
    last_s: float
    held_back: int = 0
