"""The slot table: who holds which row of a worker's state."""

from __future__ import annotations

from heapq import heappop, heappush

from moshi_cluster.services.common.errors import NoFreeSlot


class SlotTable:
    """A fixed number of slots and a free list. Knows nothing of tensors; used from one thread."""

    def __init__(self, name: str, slots: int) -> None:
        """name: what the slots are for, used in messages ("encode")."""
        self.name = name
        self.total = slots
        self._free = list(range(slots))  # a heap

    @property
    def used(self) -> int:
        """Slots held now."""
        return self.total - len(self._free)

    def acquire(self) -> int:
        """Takes the lowest free slot: rows in use lie together, and models read them in place. Raises NoFreeSlot."""
        if not self._free:
            raise NoFreeSlot(f"all {self.name} slots are in use", slots=self.total)
        return heappop(self._free)

    def release(self, slot: int) -> None:
        """Gives a slot back. Raises ValueError if it is not held: a slot freed twice would serve two sessions."""
        if slot in self._free or not 0 <= slot < self.total:
            raise ValueError(f"{self.name} slot {slot} is not held")
        heappush(self._free, slot)
