"""Turns on the event loop: one a round."""

from __future__ import annotations

import asyncio

import pytest

from moshi_cluster.services.gateway.admission.turns import Turns

pytestmark = pytest.mark.usefixtures("nothing_swallowed")


async def rounds_of(turns: Turns, count: int, taken: list[int]) -> list[int]:
    """How many had their turn after each round of the loop."""
    seen = []
    for _ in range(count):
        await asyncio.sleep(0)
        seen.append(len(taken))
    return seen


async def test_each_round_of_the_loop_has_one_turn_and_the_first_in_line_is_first() -> None:
    turns, taken = Turns(), list[int]()
    for number in range(5):
        turns.soon(lambda number=number: taken.append(number))
    assert not taken
    seen = await rounds_of(turns, 12, taken)
    assert taken == [0, 1, 2, 3, 4]
    assert all(later - earlier <= 1 for earlier, later in zip([0, *seen], seen, strict=False))


async def test_a_turn_that_was_given_up_takes_nobodys_round() -> None:
    turns, taken = Turns(), list[int]()
    handles = [turns.soon(lambda number=number: taken.append(number)) for number in range(1000)]
    for handle in handles[:-1]:
        handle.cancel()
    await rounds_of(turns, 3, taken)
    assert taken == [999]


async def test_who_fails_in_their_turn_holds_up_nobody() -> None:
    turns, taken = Turns(), list[int]()
    turns.soon(lambda: 1 // 0)
    turns.soon(lambda: taken.append(1))
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    await rounds_of(turns, 6, taken)
    assert taken == [1]
    assert len(failures) == 1


async def test_a_task_that_is_cancelled_in_line_leaves_it() -> None:
    turns, taken = Turns(), list[int]()
    waiting = [asyncio.create_task(turns.mine()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    turns.soon(lambda: taken.append(1))
    await rounds_of(turns, 10, taken)
    assert taken == [1]
    assert waiting[0].cancelled() and waiting[1].done() and waiting[2].done()
