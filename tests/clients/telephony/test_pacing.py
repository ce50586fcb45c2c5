"""Packets leave on one schedule, in simulated time."""

from __future__ import annotations

import pytest

from moshi_cluster.clients.telephony.pacing import paced


class Clock:
    """Moves when somebody sleeps, and then by a little more than asked for."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def read(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds + 0.004


async def test_what_is_late_delays_nothing_behind_it() -> None:
    clock, moments = Clock(), []
    async for due_s in paced((index * 0.02 for index in range(500)), 50.0, clock.read, clock.sleep):
        moments.append((due_s, clock.now_s))
        if len(moments) == 100:
            clock.now_s += 0.1  # whoever was told took so long
    assert [due_s for due_s, _ in moments] == pytest.approx([50 + index * 0.02 for index in range(500)])
    late_s = [at_s - due_s for due_s, at_s in moments]
    assert max(late_s[:100]) == pytest.approx(0.004)
    assert late_s[100:106] == pytest.approx([0.084, 0.064, 0.044, 0.024, 0.004, 0.004])
    assert max(late_s[106:]) == pytest.approx(0.004)
