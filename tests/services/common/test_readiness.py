"""Readiness: every change is told, the latest state wins."""

from __future__ import annotations

import asyncio

from moshi_cluster.services.common.readiness import Readiness
from tests.services.in_process import PATIENCE_S


async def test_changes_are_told_and_what_stays_the_same_is_not() -> None:
    readiness = Readiness()
    changes = aiter(readiness.changes())
    readiness.set(True)
    readiness.set(False)
    readiness.set(False)
    async with asyncio.timeout(PATIENCE_S):
        assert await anext(changes) is False
        waiting = asyncio.create_task(anext(changes))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert not waiting.done()
        readiness.set(True)
        assert await waiting is True


async def test_who_reads_late_reads_the_latest_state() -> None:
    readiness = Readiness()
    for ready in (False, True, False):
        readiness.set(ready)
    async with asyncio.timeout(PATIENCE_S):
        assert await anext(aiter(readiness.changes())) is False
    assert not readiness.is_ready
