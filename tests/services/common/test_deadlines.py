"""Waits end in time."""

from __future__ import annotations

import asyncio

import pytest

from moshi_cluster.services.common.deadlines import set_within, within
from moshi_cluster.services.common.errors import LimitReached

LONG_S = 60.0  # beyond any test


async def test_quick_work_is_left_alone() -> None:
    async def work() -> int:
        return 7

    assert await within(work(), LONG_S, "too slow") == 7


async def test_slow_work_is_ended_with_the_problem_and_the_limit() -> None:
    work = asyncio.get_running_loop().create_future()
    with pytest.raises(LimitReached, match="^no `open` came$") as error:
        await within(work, 0.01, "no `open` came")
    assert error.value.figures == {"limit_s": "0.01"}
    assert work.cancelled()


@pytest.mark.parametrize("timeout_s", [LONG_S, None])
async def test_who_waits_for_an_event_goes_on_once_it_is_set(timeout_s: float | None) -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(set_within(event, timeout_s))
    await asyncio.sleep(0)
    assert not waiting.done()
    event.set()
    assert await waiting


async def test_who_waits_for_an_event_that_is_never_set_goes_on_too() -> None:
    assert not await set_within(asyncio.Event(), 0.01)


async def test_an_event_that_is_set_already_needs_no_time() -> None:
    event = asyncio.Event()
    event.set()
    assert await set_within(event, -1.0)
