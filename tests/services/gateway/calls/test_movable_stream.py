"""How another worker's stream catches up, in simulated time; everything else of it is in test_moves_anywhere."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import numpy as np
import pytest

from moshi_cluster.services.gateway.calls.ingress import UserFrame
from moshi_cluster.services.gateway.calls.movable_stream import MovableStream
from tests.simulated_loop import run_simulated

FRAMES = 5


class Echo:
    """A worker's stream that answers each frame with itself, after a while."""

    def __init__(self, step_s: float) -> None:
        self.unread: deque[UserFrame] = deque()
        self.most_unread = 0
        self._step_s = step_s

    async def until_writable(self) -> None: ...

    def put(self, frame: UserFrame) -> None:
        self.unread.append(frame)
        self.most_unread = max(self.most_unread, len(self.unread))

    async def read(self) -> UserFrame:
        await asyncio.sleep(self._step_s)
        return self.unread.popleft()


async def caught_up(step_s: float, rests: bool) -> tuple[float, int]:
    """How long it takes with a memory of five frames, and how many of them were there unanswered at most."""
    old, new = Echo(0.0), Echo(step_s)
    streams: list[Any] = [old, new]
    stream: MovableStream[Any] = MovableStream(streams[0], lambda to, frame: to.put(frame), FRAMES)
    for number in range(2 * FRAMES):
        await stream.send(UserFrame(np.full(1, number, np.float32), 0.0))
        await stream.read()
    stream.remember()
    start_s = asyncio.get_running_loop().time()
    assert await stream.catch_up(streams[1], 2, rests)
    return asyncio.get_running_loop().time() - start_s, new.most_unread


@pytest.mark.parametrize(
    ("step_s", "rests", "took_s", "most_unread"),
    [(0.01, False, 5 * 0.01, 2), (0.01, True, 5 * 0.02, 1), (0.05, True, 5 * 0.07, 1)],
)
def test_a_warm_up_that_rests_leaves_as_much_time_to_others_but_never_keeps_a_call_waiting_for_long(
    step_s: float, rests: bool, took_s: float, most_unread: int
) -> None:
    simulated_s, most = run_simulated(caught_up(step_s, rests))
    assert simulated_s == pytest.approx(took_s)
    assert most == most_unread
