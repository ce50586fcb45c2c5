"""Turns of calls that move at once, in simulated time."""

from __future__ import annotations

import asyncio

from moshi_cluster.services.gateway.workers.move_turns import MoveTurns
from tests.simulated_loop import run_simulated


async def play(turns: MoveTurns, calls: dict[float, float], each_s: float = 1.0) -> dict[float, float]:
    """When each call's turn came; calls: when each began -> its patience."""
    came_s: dict[float, float] = {}

    async def move(began_s: float, patience_s: float) -> None:
        async with turns.turn(began_s, asyncio.timeout(patience_s) if patience_s else None):
            came_s[began_s] = asyncio.get_running_loop().time()
            await asyncio.sleep(each_s)

    async with asyncio.TaskGroup() as tasks:
        for began_s, patience_s in calls.items():
            tasks.create_task(move(began_s, patience_s))
    return came_s


def test_who_has_talked_longest_goes_first_16_at_once() -> None:
    calls = {float((7 * number) % 40): 0.0 for number in range(40)}
    came_s = run_simulated(play(MoveTurns(), calls))
    assert [round(came_s[float(began)]) for began in range(40)] == [0] * 16 + [1] * 16 + [2] * 8


def test_those_that_are_still_answered_go_one_at_a_time_with_rests_until_they_are_in_a_hurry() -> None:
    calls = {float(number): 4.0 for number in range(12)}
    came_s = run_simulated(play(MoveTurns(), calls))
    assert [came_s[float(began)] for began in range(12)] == [0, 1.5, 3, *[4.0] * 9]


def test_behind_a_short_turn_the_rest_is_as_long() -> None:
    came_s = run_simulated(play(MoveTurns(), dict.fromkeys((0.0, 1.0, 2.0), 9.0), each_s=0.125))
    assert came_s == {0.0: 0.0, 1.0: 0.25, 2.0: 0.5}


def test_a_turn_that_nobody_waits_for_any_more_goes_to_the_next() -> None:
    async def scenario() -> list[float]:
        turns, came_s = MoveTurns(), []

        async def move(began_s: float) -> None:
            async with turns.turn(began_s, asyncio.timeout(100.0)):
                came_s.append(began_s)
                await asyncio.sleep(1.0)

        tasks = [asyncio.create_task(move(float(number))) for number in range(6)]
        await asyncio.sleep(0.5)
        tasks[0].cancel()  # it has its turn
        tasks[2].cancel()  # it waits
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.5, tasks[1].cancel)  # it has just been given the turn of the first
        await asyncio.gather(*tasks, return_exceptions=True)
        return came_s

    assert run_simulated(scenario()) == [0.0, 3.0, 4.0, 5.0]


def test_who_is_lost_while_it_waits_goes_at_once() -> None:
    async def scenario() -> float:
        turns = MoveTurns()

        async def move(patience: asyncio.Timeout, each_s: float) -> float:
            async with turns.turn(0.0, patience):
                came_s = asyncio.get_running_loop().time()
                await asyncio.sleep(each_s)
                return came_s

        before = [asyncio.create_task(move(asyncio.timeout(100.0), 50.0)) for _ in range(2)]
        patience = asyncio.timeout(100.0)
        waiting = asyncio.create_task(move(patience, 0.0))
        await asyncio.sleep(3.0)
        patience.reschedule(asyncio.get_running_loop().time())
        came_s = await waiting
        await asyncio.gather(*before)
        return came_s

    assert run_simulated(scenario()) == 3.0
