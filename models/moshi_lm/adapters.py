"""LoRA adapters of linear layers (Hu et al. 2021, arXiv 2106.09685; docs/model.md 4.6): W + scaling * B A."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm.canonical_tensors import CanonicalTensors


@dataclass(frozen=True)
class Adapter:
    """What a file of adapters holds, and how it is used."""

    tensors: Mapping[str, Tensor]  # `<linear>.lora_A.weight` [rank, in], `<linear>.lora_B.weight` [out, rank]
    scaling: float
    fused: bool = True  # into the weights, where those are not quantised
    source: str = "adapter"  # where it is from, for errors


class Adapters:
    """Looks the two matrices of a layer up by its canonical name."""

    def __init__(self, adapter: Adapter | None, depth_blocks: int) -> None:
        self.tensors = CanonicalTensors(adapter.tensors if adapter else {}, depth_blocks)
        self._scaling = adapter.scaling if adapter else 0.0
        self.source = adapter.source if adapter else ""
        self.fused = adapter.fused if adapter else False

    def of(self, layer: str, out_features: int, in_features: int) -> tuple[Tensor, Tensor] | None:
        """A [rank, in] and scaling * B [out, rank] in float32, or None for a layer without. Raises ValueError."""
        names = f"{layer}.lora_A.weight", f"{layer}.lora_B.weight"
        if not any(name in self.tensors for name in names):
            return None
        try:
            a = self.tensors.dense(names[0], None, in_features)
            b = self.tensors.dense(names[1], out_features, a.shape[0])
        except ValueError as error:
            raise ValueError(f"{self.source}: {error}") from error
        return a.float(), b.float() * self._scaling


def fuse(weight: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
    """[out, in] with the change in it, in float32: the type of the file may be too coarse for so small a change."""
    a, b = pair
    return torch.addmm(weight.float(), b, a)


def columns(
    pairs: Sequence[tuple[Tensor, Tensor] | None], out_features: Sequence[int], in_features: int
) -> tuple[Tensor, Tensor]:
    """One pair for several layers of one input whose outputs are put side by side; some may have none."""
    every = [
        pair or (torch.empty(0, in_features), torch.empty(out, 0))
        for pair, out in zip(pairs, out_features, strict=True)
    ]
    return torch.cat([a for a, _ in every]), torch.block_diag(*(b for _, b in every))
