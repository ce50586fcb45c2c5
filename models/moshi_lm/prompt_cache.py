"""Prompt cache: keys and values after a prompt, kept for the next session that has the same one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor


class PromptCache:
    """Copies in the machine's memory, the least recently used ones dropped when they become too many bytes.

    Not thread-safe.
    """

    def __init__(self, most_bytes: int = 0) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, list[Tensor]] = OrderedDict()
        self.nbytes = 0
        self.hits = 0
        self.misses = 0

    def restore(self, key: str, slot: Sequence[Tensor]) -> bool:
        """Copies what was kept into a slot's tensors [heads, P, ...]; False if nothing was."""
        kept = self._kept.get(key)
        if kept is None:
            self.misses += 1
            return False
        self._kept.move_to_end(key)
        for target, source in zip(slot, kept, strict=True):
            target.copy_(source)
        self.hits += 1
        return True

    def keep(self, key: str, slot: Sequence[Tensor]) -> None:
        """Keeps copies of a slot's tensors [heads, P, ...], if they fit at all."""
        nbytes = sum(tensor.nbytes for tensor in slot)
        if nbytes > self._most_bytes or key in self._kept:
            return
        while self.nbytes + nbytes > self._most_bytes:
            _, dropped = self._kept.popitem(last=False)
            self.nbytes -= sum(tensor.nbytes for tensor in dropped)
        self._kept[key] = [tensor.to("cpu", copy=True).contiguous() for tensor in slot]
        self.nbytes += nbytes
