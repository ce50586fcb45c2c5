"""Lost conversations in simulated time: each is kept as long as it was promised, and no longer."""

from __future__ import annotations

import asyncio

import pytest

from moshi_cluster.services.gateway.calls.conversation import Conversation
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.calls.resumption import Resumption
from moshi_cluster.v1 import common_pb2
from tests.services.simulated_clock import SimulatedClock

KEEP_S = 0.6


class Clock(SimulatedClock):
    """Counted from the beginning of a test."""

    def until(self, at_s: float) -> None:
        """Moves on to so many seconds after the beginning."""
        self.advance(1000.0 + at_s - self.now_s)

    @property
    def alarms(self) -> int:
        """How many are set."""
        return sum(alarm.callback is not None for _, alarm in self._alarms)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def resumption(clock: Clock, most_lost: int = 100) -> Resumption:
    return Resumption(KEEP_S, most_lost, clock, give_up_timeout_s=0)


def conversation() -> Conversation:
    return Conversation(common_pb2.Sampling(seed=1), 1, 2, History())


def lost(kept: Resumption) -> Conversation:
    """A conversation that was begun and whose connection is lost now."""
    begun = conversation()
    kept.begin(begun)
    kept.end(begun, lost=True)
    return begun


@pytest.mark.parametrize(("after_s", "there"), [(0.0, True), (0.59, True), (0.6, False), (60.0, False)])
async def test_a_lost_conversation_is_kept_for_as_long_as_is_promised(
    clock: Clock, after_s: float, there: bool
) -> None:
    kept = resumption(clock)
    begun = lost(kept)
    clock.until(after_s)
    assert await kept.take(begun.key) is (begun if there else None)


@pytest.mark.parametrize(("after_s", "there"), [(0.7, True), (1.09, True), (1.1, False)])
async def test_a_conversation_that_is_given_back_is_kept_from_then_on(
    clock: Clock, after_s: float, there: bool
) -> None:
    kept = resumption(clock)
    begun = lost(kept)
    clock.until(0.5)
    taken = await kept.take(begun.key)
    assert taken is begun
    kept.give_back(taken)
    clock.until(after_s)
    assert await kept.take(begun.key) is (begun if there else None)


async def test_a_conversation_that_another_connection_took_is_not_forgotten_under_it(clock: Clock) -> None:
    kept = resumption(clock)
    begun = lost(kept)
    clock.until(0.1)
    assert await kept.take(begun.key) is begun
    clock.until(5.0)  # in the queue for longer than it would have been kept
    kept.give_back(begun)
    clock.until(5.59)
    assert await kept.take(begun.key) is begun


async def test_what_is_overdue_takes_no_memory_although_nobody_asks_for_anything(clock: Clock) -> None:
    kept = resumption(clock)
    for index in range(5):
        clock.until(0.1 * index)
        lost(kept)
    remaining = []
    for at_s in (0.55, 0.65, 0.75, 1.05):
        clock.until(at_s)
        remaining.append(kept.lost_conversations)
    assert remaining == [5, 4, 3, 0]
    assert clock.alarms == 0


async def test_one_alarm_is_set_however_many_conversations_are_lost(clock: Clock) -> None:
    kept = resumption(clock)
    begun = [lost(kept) for _ in range(50)]
    for conversation in begun:
        taken = await kept.take(conversation.key)
        assert taken is not None
        kept.give_back(taken)
    assert clock.alarms == 1


async def test_of_too_many_lost_conversations_the_oldest_is_forgotten(clock: Clock) -> None:
    kept = resumption(clock, most_lost=3)
    first, second, third = (lost(kept) for _ in range(3))
    taken = await kept.take(first.key)
    assert taken is first
    kept.give_back(taken)  # the latest again
    fourth = lost(kept)
    assert kept.lost_conversations == 3
    assert [await kept.take(one.key) for one in (second, first, third, fourth)] == [None, first, third, fourth]


async def test_a_conversation_that_ended_well_is_not_kept(clock: Clock) -> None:
    kept = resumption(clock)
    begun = conversation()
    kept.begin(begun)
    kept.end(begun, lost=False)
    assert await kept.take(begun.key) is None
    assert clock.alarms == 0


async def test_a_key_is_good_once(clock: Clock) -> None:
    kept = resumption(clock)
    begun = lost(kept)
    assert await kept.take(begun.key) is begun
    assert await kept.take(begun.key) is None


async def test_two_who_come_back_with_one_key_get_it_once(clock: Clock) -> None:
    kept = Resumption(KEEP_S, 100, clock)
    begun = conversation()
    kept.begin(begun)
    both = [asyncio.create_task(kept.take(begun.key)) for _ in range(2)]
    await begun.wanted.wait()
    kept.end(begun, lost=True)
    assert sorted(map(bool, await asyncio.gather(*both))) == [False, True]


async def test_a_connection_that_does_not_give_up_keeps_its_conversation(clock: Clock) -> None:
    kept = resumption(clock)
    begun = conversation()
    kept.begin(begun)
    clock.until(5.0)
    assert await kept.take(begun.key) is None
    assert begun.wanted.is_set()
    kept.end(begun, lost=True)
    assert await kept.take(begun.key) is begun


async def test_without_a_clock_of_its_own_it_goes_by_the_event_loop() -> None:
    kept = Resumption(keep_s=0.0, most_lost=1)
    assert await kept.take(lost(kept).key) is None
