"""When a worker that is told to stop takes new sessions, and when it may end, on a simulated clock."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.common.worker.drain import Drain
from tests.services.in_process import few_turns
from tests.services.simulated_clock import SimulatedClock

LINGER_S, GRACE_S = 10.0, 30.0


class Draining:
    """A drain, its clock, and what it has called."""

    def __init__(self, linger_s: float = LINGER_S) -> None:
        self.clock = SimulatedClock()
        self.called: list[str] = []
        self.drain = Drain(
            linger_s, lambda: self.called.append("closed"), lambda: self.called.append("ended"), self.clock
        )

    @property
    def is_over(self) -> bool:
        return self.drain._over.is_set()


@pytest_asyncio.fixture
async def draining() -> Draining:
    return Draining()


async def test_an_idle_worker_that_nobody_watches_ends_at_once(draining: Draining) -> None:
    draining.drain.begin(GRACE_S)
    assert draining.is_over and draining.drain.closed.is_set()
    await draining.drain.until_over()


async def test_who_is_not_told_to_stop_is_never_over(draining: Draining) -> None:
    draining.drain.needed_by(1, 1)
    draining.drain.needed_by(0, 0)
    draining.clock.advance(1000)
    assert not draining.is_over and not draining.called
    assert draining.drain.linger_left_s == draining.drain.grace_left_s == float("inf")


async def test_a_worker_that_is_watched_takes_sessions_until_its_linger_is_over(draining: Draining) -> None:
    draining.drain.needed_by(0, 2)
    draining.drain.begin(GRACE_S)
    draining.clock.advance(LINGER_S - 1)
    assert not draining.is_over and not draining.drain.closed.is_set()
    assert (draining.drain.linger_left_s, draining.drain.grace_left_s) == (1.0, GRACE_S - LINGER_S + 1)
    draining.clock.advance(1)
    assert draining.is_over and draining.drain.closed.is_set()
    assert draining.called == ["closed"]
    assert draining.drain.linger_left_s == 0.0


@pytest.mark.parametrize("first", ["slot", "watch"])
async def test_it_ends_with_its_last_slot_and_its_last_watch_whichever_comes_last(
    draining: Draining, first: str
) -> None:
    draining.drain.needed_by(1, 1)
    draining.drain.begin(GRACE_S)
    draining.drain.needed_by(*((0, 1) if first == "slot" else (1, 0)))
    assert not draining.is_over
    draining.drain.needed_by(0, 0)
    assert draining.is_over


async def test_after_the_linger_only_its_sessions_hold_it_and_they_have_its_grace(draining: Draining) -> None:
    draining.drain.needed_by(2, 1)
    draining.drain.begin(GRACE_S)
    draining.clock.advance(GRACE_S - 1)
    assert not draining.is_over and draining.called == ["closed"]
    draining.clock.advance(1)
    assert draining.called == ["closed", "ended"]
    draining.drain.needed_by(0, 1)
    assert draining.is_over


async def test_a_new_session_has_half_of_the_grace_at_least(draining: Draining) -> None:
    draining.drain.needed_by(0, 1)
    draining.drain.begin(4.0)
    assert draining.drain.linger_left_s == 2.0
    draining.clock.advance(2.0)
    assert draining.is_over


async def test_asked_again_it_ends_its_sessions_at_once_and_no_earlier_alarm_goes_off(draining: Draining) -> None:
    draining.drain.needed_by(1, 1)
    draining.drain.begin(GRACE_S)
    draining.drain.begin(0.0)
    assert draining.drain.closed.is_set()
    draining.clock.advance(0.0)
    assert draining.called.count("ended") == 1
    draining.clock.advance(2 * GRACE_S)
    assert draining.called.count("ended") == 1


async def test_one_whose_engine_failed_takes_no_sessions_and_does_not_end_by_itself(draining: Draining) -> None:
    draining.drain.close()
    assert draining.called == ["closed"] and not draining.is_over
    assert draining.drain.linger_left_s == 0.0


@given(
    linger_s=st.sampled_from([0.0, 5.0, 10.0, 100.0]),
    events=st.lists(st.tuples(st.floats(0.0, 8.0), st.integers(0, 2), st.integers(0, 2)), max_size=20),
)
def test_it_is_over_no_sooner_than_it_may_and_no_later_than_it_must(
    linger_s: float, events: list[tuple[float, int, int]]
) -> None:
    async def scenario() -> None:
        draining = Draining(linger_s)
        draining.drain.needed_by(1, 1)
        draining.drain.begin(GRACE_S)
        passed_s, expected = 0.0, False
        for pause_s, sessions, watches in events:
            passed_s += pause_s
            before = draining.drain._sessions
            draining.clock.advance(pause_s)
            closed = passed_s >= min(linger_s, GRACE_S / 2)
            expected |= closed and not before
            draining.drain.needed_by(sessions, watches)
            expected |= not sessions and (closed or not watches)
            assert draining.is_over == expected
        await few_turns()

    asyncio.run(scenario())
