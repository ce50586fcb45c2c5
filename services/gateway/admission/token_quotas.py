"""Quotas of tokens: how many calls those who show one may hold at once, and begin per second."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from moshi_cluster.services.common.errors import OverQuota
from moshi_cluster.services.gateway.admission.rate_limits import Pace

_MOST_WAIT_S = 3.0


@dataclass(frozen=True)
class Grant:
    """What a token stands for."""

    name: str
    """For the audit log. Tokens of one name share their quotas, so that one may take another's place."""
    sessions: int | None = None
    """Calls at once; None: no limit of its own."""
    openings_per_s: float | None = None
    """Calls begun per second on average, a second's worth at once; None: no limit of its own."""


class TokenQuotas:
    """Counts the calls of each name. There are as many names as the operator has written."""

    def __init__(self) -> None:
        self._sessions: Counter[str] = Counter()
        self._paces: dict[tuple[str, float], Pace] = {}

    async def enter(self, grant: Grant, held: ExitStack) -> None:
        """Takes a place for a call, given back by `held`; returns when it may begin. Raises OverQuota."""
        held.enter_context(self._session(grant))
        if delay_s := self._delay_s(grant, time.monotonic()):
            await asyncio.sleep(delay_s)

    @contextmanager
    def _session(self, grant: Grant) -> Iterator[None]:
        if grant.sessions is not None and self._sessions[grant.name] >= grant.sessions:
            raise OverQuota("this token already holds all its calls", "TOO_MANY_CALLS", calls=grant.sessions)
        self._sessions[grant.name] += 1
        try:
            yield
        finally:
            self._sessions[grant.name] -= 1

    def _delay_s(self, grant: Grant, now_s: float) -> float:
        if (per_s := grant.openings_per_s) is None:
            return 0.0
        pace = self._paces.setdefault((grant.name, per_s), Pace(per_s, max(1.0, per_s), now_s))
        delay_s = pace.delay_s(now_s, 1.0)
        if delay_s > _MOST_WAIT_S:
            pace.delay_s(now_s, -1.0)
            problem = "too many calls begun with this token; try again in a few seconds"
            raise OverQuota(problem, "TOO_MANY_OPENINGS", round(1000 * _MOST_WAIT_S))
        return delay_s
