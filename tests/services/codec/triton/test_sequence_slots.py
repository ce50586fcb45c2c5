"""Which sequence holds which slot of a model in Triton, on a simulated clock."""

from __future__ import annotations

import pytest

from moshi_cluster.services.codec.triton.sequence_slots import SequenceSlots
from moshi_cluster.services.common.errors import NoFreeSlot
from moshi_cluster.services.common.worker.slots import SlotTable

IDLE_S = 10.0


class Slots(SequenceSlots):
    """Two of them, and what was cleaned."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.cleaned: list[int] = []
        super().__init__(SlotTable("encode", 2), IDLE_S, self.cleaned.append, lambda: self.now_s)


def test_sequences_have_slots_of_their_own_until_they_end() -> None:
    slots = Slots()
    assert [slots.start(7), slots.start(8)] == [0, 1]
    assert [slots.of(8), slots.of(7)] == [1, 0]
    slots.end(7)
    assert slots.cleaned == [0]
    assert slots.start(9) == 0


def test_a_sequence_that_never_began_has_no_slot() -> None:
    with pytest.raises(KeyError):
        Slots().of(7)
    slots = Slots()
    slots.end(7)
    assert slots.cleaned == []


def test_a_sequence_that_begins_again_gets_a_clean_slot() -> None:
    slots = Slots()
    slots.start(7)
    assert slots.start(7) == 0
    assert slots.cleaned == [0]


def test_when_none_is_free_the_one_that_was_idle_for_too_long_is_forgotten() -> None:
    slots = Slots()
    slots.start(7)
    slots.start(8)
    slots.now_s = 9.0
    slots.of(7)
    with pytest.raises(NoFreeSlot):
        slots.start(9)
    slots.now_s = 10.0
    assert slots.start(9) == 1, "8 was idle for ten seconds, 7 for one"
    assert slots.of(7) == 0
    with pytest.raises(KeyError):
        slots.of(8)


def test_nobody_is_forgotten_while_there_is_room() -> None:
    slots = Slots()
    slots.start(7)
    slots.now_s = 1000.0
    slots.start(8)
    assert slots.of(7) == 0
