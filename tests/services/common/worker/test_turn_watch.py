"""When a turn is taken for one that hangs."""

from __future__ import annotations

from moshi_cluster.services.common.worker.turn_watch import TurnWatch


def looks(*turns: int, stuck_looks: int = 3) -> list[bool]:
    """What is said at each look at these counts of turns begun and ended."""
    watch = TurnWatch(stuck_looks)
    return [watch.look(count) for count in turns]


def test_a_turn_that_stays_the_same_for_too_many_looks_has_hung() -> None:
    assert looks(5, 5, 5, 5) == [False, False, False, True]


def test_an_idle_engine_is_not_taken_for_one_that_hangs() -> None:
    assert not any(looks(*[0] * 9, *[8] * 9))


def test_long_turns_that_end_are_not_taken_for_one_that_hangs() -> None:
    assert not any(looks(5, 5, 5, 7, 7, 7, 9, 9, 9, 10))
