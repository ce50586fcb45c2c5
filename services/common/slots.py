"""The slot table: who holds which row of a worker's state."""

from __future__ import annotations

from collections import deque

from services.common.errors import NoFreeSlot


class SlotTable:
    """A fixed number of slots and a free list. Knows nothing of tensors; used from one thread."""

    def __init__(self, name: str, slots: int) -> None:
        """name: what the slots are for, used in messages ("encode")."""
        self.name = name
        self.total = slots
        self._free = deque(range(slots))

    @property
    def used(self) -> int:
        """Slots held now."""
        return self.total - len(self._free)

    def acquire(self) -> int:
        """Takes the slot that has been free longest. Raises NoFreeSlot."""
        if not self._free:
            raise NoFreeSlot(f"all {self.total} {self.name} slots are in use")
        return self._free.popleft()

    def release(self, slot: int) -> None:
        """Gives a slot back. Raises ValueError if it is not held: a slot freed twice would serve two sessions."""
        if slot in self._free or not 0 <= slot < self.total:
            raise ValueError(f"{self.name} slot {slot} is not held")
        self._free.append(slot)
