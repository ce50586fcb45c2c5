"""Slots of a model in Triton by correlation id. Knows nothing of tensors."""

from __future__ import annotations

from collections.abc import Callable

from moshi_cluster.services.common.worker.slots import SlotTable


class SequenceSlots:
    """Which sequence holds which slot.

    Triton forgets a sequence that has been idle for too long without a word to the model. Its slot is taken back when
    a new sequence finds none free.
    """

    def __init__(
        self, table: SlotTable, idle_s: float, clean: Callable[[int], None], now_s: Callable[[], float]
    ) -> None:
        """clean: makes a slot as good as new. idle_s: after which Triton forgets a sequence."""
        self._table = table
        self._idle_s = idle_s
        self._clean = clean
        self._now_s = now_s
        self._slots: dict[int, int] = {}  # by correlation id, whoever was idle longest first
        self._used_s: dict[int, float] = {}

    def start(self, correlation_id: int) -> int:
        """A slot as good as new for a sequence that begins, also where one of that id is held. Raises NoFreeSlot."""
        self.end(correlation_id)
        self._forget_idle()
        self._slots[correlation_id] = self._table.acquire()
        return self.of(correlation_id)

    def of(self, correlation_id: int) -> int:
        """The slot of a sequence that goes on. Raises KeyError for one that never began or was forgotten."""
        slot = self._slots.pop(correlation_id)
        self._slots[correlation_id] = slot
        self._used_s[correlation_id] = self._now_s()
        return slot

    def end(self, correlation_id: int) -> None:
        """Frees a sequence's slot, if it holds one."""
        if (slot := self._slots.pop(correlation_id, None)) is not None:
            del self._used_s[correlation_id]
            self._clean(slot)
            self._table.release(slot)

    def _forget_idle(self) -> None:
        """Only where it is full: a sequence may be late by our clock and alive by Triton's."""
        while self._slots and self._table.used == self._table.total:
            oldest = next(iter(self._slots))
            if self._now_s() - self._used_s[oldest] < self._idle_s:
                return
            self.end(oldest)
