"""LoRA adapters read from a file of their own, or from the LM's (docs/model.md 4.6)."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from moshi_cluster.models.layers.quantised import Stored
from moshi_cluster.models.loading.errors import CheckpointError
from moshi_cluster.models.loading.opening import opened
from moshi_cluster.models.loading.safetensors_file import SafetensorsFile
from moshi_cluster.models.moshi_lm.adapters import Adapter
from moshi_cluster.models.moshi_lm.canonical_tensors import CanonicalTensors

OpenAdapters = Callable[[Path], Mapping[str, Tensor]]
_SIDES = (".lora_A.weight", ".lora_B.weight")


def open_adapters(path: Path) -> Mapping[str, Tensor]:
    """All tensors of a file of adapters, with a progress line on stderr. Raises CheckpointError."""
    with opened(path, "its adapters", SafetensorsFile) as file:
        return dict(file)


def adapted(
    tensors: Mapping[str, Stored],
    path: Path | None,
    scaling: float | None,
    fused: bool,
    depth_blocks: int,
    open_file: OpenAdapters = open_adapters,
) -> tuple[Mapping[str, Stored], Adapter | None]:
    """The LM's tensors and its adapter, if it has one.

    tensors: of the LM, by published name. path: the file of adapters; whole tensors in it (embeddings that were tuned
    too) take the place of the LM's. Raises CheckpointError for a key that belongs to no layer, ValueError for
    adapters without a scaling.
    """
    if path is None:
        own = {name: tensor for name in tensors if name.endswith(_SIDES) if isinstance(tensor := tensors[name], Tensor)}
        if not own:
            return tensors, None
        left = {name: tensors[name] for name in tensors if name not in own}
        return left, Adapter(own, _known(scaling), fused, "adapters")
    given = open_file(path)
    pairs = {name: tensor for name, tensor in given.items() if name.endswith(_SIDES)}
    whole: dict[str, Stored] = {name: tensor for name, tensor in given.items() if name not in pairs}
    layers = CanonicalTensors(tensors, depth_blocks)
    for name in CanonicalTensors(pairs, depth_blocks):
        if f"{name.rpartition('.lora_')[0]}.weight" not in layers:
            raise CheckpointError(f"{path}: {name}: the LM has no such layer")
    for name in whole:
        if name not in tensors:
            raise CheckpointError(f"{path}: {name}: neither an adapter nor a tensor of the LM")
    if not pairs:
        raise CheckpointError(f"{path}: no adapters: nothing ends in {' or '.join(_SIDES)}")
    adapter = Adapter(pairs, _known(scaling), fused, str(path))
    # The last map of a ChainMap is only read.
    return ChainMap(whole, tensors) if whole else tensors, adapter  # type: ignore[arg-type]


def _known(scaling: float | None) -> float:
    if scaling is None:
        raise ValueError(
            "adapters: no scaling: config.json says neither lora nor lora_scaling; give the config.json that the "
            "adapters came with, or set lora_scaling"
        )
    return scaling
