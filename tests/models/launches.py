"""Counts what a step would launch, copy and wait for on a device, from tensors without memory (torch's meta device)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operators of models.kernels that are more than one kernel: attention is splits and their sum, the bias copies first.
KERNELS_OF = {"moshi_cluster::ring_attention": 2, "moshi_cluster::text_bias": 2}
IN_PLACE_ON_RINGS = ("moshi_cluster::ring_attention", "moshi_cluster::turn_and_write")
WITHOUT_A_KERNEL = ("aten::empty", "aten::new_empty", "aten::_unsafe_view", "aten::detach", "aten::lift_fresh")
SYNCHRONISING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select")


class Launches(TorchDispatchMode):
    """While it is active: kernels, copies between host and device, bytes taken out of rings.

    Any other reason to wait for the device raises AssertionError.
    """

    def __init__(self, rings: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.to_device_bytes: list[int] = []
        self.to_host_bytes: list[int] = []
        self.gathered_bytes = 0
        self._rings = {_storage(ring) for ring in rings}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func._schema.name
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name in ("aten::copy_", "aten::_to_copy") and self._is_transfer(name, given, kwargs or {}):
            return self._transferred(given, kwargs or {})
        if not any(tensor.is_meta for tensor in given):
            return func(*args, **(kwargs or {}))
        if name in SYNCHRONISING:
            raise AssertionError(f"{name} reads from the device")
        out = func(*args, **(kwargs or {}))
        if not (_is_view(func) or name.startswith(WITHOUT_A_KERNEL)):
            self.kernels[name] += KERNELS_OF.get(name, 1)
            if name not in IN_PLACE_ON_RINGS and any(_storage(tensor) in self._rings for tensor in given):
                self.gathered_bytes += sum(leaf.nbytes for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out

    def _is_transfer(self, name: str, given: list[Tensor], kwargs: Mapping[str, Any]) -> bool:
        if name == "aten::copy_":
            return given[0].is_meta != given[1].is_meta
        device = kwargs.get("device")
        return device is not None and (torch.device(device).type == "meta") != given[0].is_meta

    def _transferred(self, given: list[Tensor], kwargs: Mapping[str, Any]) -> Tensor:
        """Notes the copy and leaves it out: nothing can be read from the meta device."""
        source = given[-1]
        (self.to_host_bytes if source.is_meta else self.to_device_bytes).append(source.nbytes)
        return given[0] if len(given) == 2 else torch.empty_like(source, device=kwargs["device"])


def _is_view(func: Any) -> bool:
    return any(out.alias_info is not None and not out.alias_info.is_write for out in func._schema.returns)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
