"""Slots are handed out once, and only to be given back once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from moshi_cluster.services.common.errors import NoFreeSlot
from moshi_cluster.services.common.worker.slots import SlotTable

_SLOTS = 4


class Slots(RuleBasedStateMachine):
    """Any order of acquire and release."""

    def __init__(self) -> None:
        super().__init__()
        self.table = SlotTable("test", _SLOTS)
        self.held: list[int] = []

    @precondition(lambda self: len(self.held) < _SLOTS)
    @rule()
    def acquire(self) -> None:
        slot = self.table.acquire()
        assert slot not in self.held
        assert 0 <= slot < _SLOTS
        self.held.append(slot)

    @precondition(lambda self: len(self.held) == _SLOTS)
    @rule()
    def refuse(self) -> None:
        with pytest.raises(NoFreeSlot, match="all test slots are in use"):
            self.table.acquire()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        self.table.release(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    @invariant()
    def count_is_right(self) -> None:
        assert self.table.used == len(self.held)


TestSlots = Slots.TestCase
TestSlots.settings = settings(max_examples=30, stateful_step_count=30)


@pytest.mark.parametrize("slot", [-1, 1, 2])
def test_a_slot_that_is_not_held_cannot_be_released(slot: int) -> None:
    table = SlotTable("test", 2)
    assert table.acquire() == 0
    with pytest.raises(ValueError, match=f"test slot {slot} is not held"):
        table.release(slot)


def test_the_lowest_free_slot_is_next() -> None:
    table = SlotTable("test", 4)
    for slot in range(4):
        assert table.acquire() == slot
    for slot in (2, 0, 3):
        table.release(slot)
    assert [table.acquire() for _ in range(3)] == [0, 2, 3]
