"""Counts the most bytes that an operation holds at once, from tensors without memory (torch's meta device)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_GRAIN_BYTES = 512  # torch's allocator rounds up to it


class PeakMemory(TorchDispatchMode):
    """While it is active: bytes of the tensors that were made inside and still live, and the most of them."""

    def __init__(self) -> None:
        super().__init__()
        self.most_bytes = 0
        self._known: set[int] = set()
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self._live = {key: held for key, held in self._live.items() if not held[0].expired()}
        given = {_key(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.is_meta and _key(leaf) not in given | self._live.keys():
                storage = leaf.untyped_storage()
                nbytes = -(-storage.nbytes() // _GRAIN_BYTES) * _GRAIN_BYTES
                self._live[_key(leaf)] = StorageWeakRef(storage), nbytes
        self.most_bytes = max(self.most_bytes, self.bytes)
        return out

    @property
    def bytes(self) -> int:
        """Of what lives now."""
        return sum(nbytes for _, nbytes in self._live.values())


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
