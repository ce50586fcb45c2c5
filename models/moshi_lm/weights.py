"""LM weights as layers take them: by one name, checked, in the type and on the device they run in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from moshi_cluster.models.layers.adapted import AdaptedLinear
from moshi_cluster.models.layers.linear import Linear
from moshi_cluster.models.layers.projection import Projection
from moshi_cluster.models.layers.quantised import QuantisedLinear, QuantisedMatrix, Stored
from moshi_cluster.models.layers.quantised.matrix import stacked
from moshi_cluster.models.moshi_lm.adapters import Adapter, Adapters, columns, fuse
from moshi_cluster.models.moshi_lm.canonical_tensors import CanonicalTensors
from moshi_cluster.models.moshi_lm.config import LmConfig
from moshi_cluster.models.moshi_lm.unserved import is_unserved

Quantise = Callable[[Tensor], QuantisedMatrix]


class LmWeights:
    """Looks tensors up by their canonical names (`...self_attn.in_projs.{block}.weight`, the rest as published).

    What it gives away are copies: one view of a mapped file would keep all of the file in memory.
    """

    def __init__(
        self,
        tensors: Mapping[str, Stored],
        config: LmConfig,
        dtype: torch.dtype,
        device: torch.device | str,
        quantise: Quantise | None = None,
        adapter: Adapter | None = None,
    ) -> None:
        """quantise: for the weights of linear layers and embeddings that are not quantised yet."""
        self._tensors = CanonicalTensors(tensors, config.stored_depth_blocks)
        self._adapters = Adapters(adapter, config.stored_depth_blocks)
        self._config = config
        self._quantise = quantise
        self.dtype = dtype
        self.device = device

    def rows(self, name: str) -> int | None:
        """Stored rows of a linear layer, name without `.weight`; None if it is missing."""
        stored = self._tensors.get(f"{name}.weight")
        return None if stored is None else stored.shape[0]

    def tensor(self, name: str, *shape: int | None) -> Tensor:
        """The tensor in the model's type, on its device, dense. None in shape accepts any size. Raises ValueError."""
        return self._dense(self._tensors.of_shape(name, *shape))

    def wide(self, name: str, *shape: int | None) -> Tensor:
        """`tensor` in float32, with all the precision that the file has."""
        return self._tensors.dense(name, *shape).to(self.device, torch.float32, copy=True)

    def table(self, name: str, vocabulary: int, dim: int) -> Stored:
        """An embedding table [vocabulary, dim] on its device, quantised if it is or shall be."""
        part = self._tensors.of_shape(name, vocabulary, dim)
        if isinstance(part, QuantisedMatrix):
            return part.to(self.device)
        return self._dense(part) if self._quantise is None else self._quantise(part.to(self.device))

    def linear(
        self, name: str, out_features: int | None, in_features: int | None, rows: Tensor | None = None
    ) -> Projection:
        """name: without `.weight`; rows: int64, which of the stored rows are wanted, in order; None for all."""
        return self.linears([name], out_features, in_features, rows)

    def linears(
        self,
        names: Sequence[str],
        out_features: int | None,
        in_features: int | None,
        rows: Tensor | None = None,
    ) -> Projection:
        """Layers of one input as one, their outputs side by side. out_features: of each, as stored."""
        parts = [self._tensors.of_shape(f"{name}.weight", out_features, in_features) for name in names]
        pairs = [self._adapters.of(name, *part.shape) for name, part in zip(names, parts, strict=True)]
        if rows is not None:
            parts = [part[rows] for part in parts]
            pairs = [None if pair is None else (pair[0], pair[1][rows]) for pair in pairs]
        for i, (part, pair) in enumerate(zip(parts, pairs, strict=True)):
            if pair is not None and self._adapters.fused and isinstance(part, Tensor):
                parts[i], pairs[i] = fuse(part, pair), None
        base = self._projection(parts)
        if pairs.count(None) == len(pairs):
            return base
        a, b = columns(pairs, [part.shape[0] for part in parts], base.in_features)
        return AdaptedLinear(base, self._dense(a), self._dense(b))

    def vector(self, name: str, size: int) -> Tensor:
        """A [size] tensor in float32, stored as [size] or [1, 1, size]."""
        stored = self._tensors.get(name)
        if isinstance(stored, Tensor) and tuple(stored.shape) == (1, 1, size):
            return stored.to(self.device, torch.float32, copy=True).flatten()
        return self.wide(name, size)

    def check_all_used(self) -> None:
        """Raises ValueError naming a tensor that no layer asked for: a model with it is another model."""
        for tensors, where in ((self._tensors, ""), (self._adapters.tensors, f"{self._adapters.source}: ")):
            left = [name for name in tensors.unused() if not is_unserved(name, self._config)]
            if left:
                more = f" (nor are {len(left) - 1} others)" if len(left) > 1 else ""
                raise ValueError(f"{where}{left[0]}: no part of the model that the configuration describes{more}")

    def _projection(self, parts: Sequence[Stored]) -> Projection:
        if self._quantise is not None:
            parts = [self._quantise(part.to(self.device)) if isinstance(part, Tensor) else part for part in parts]
        matrices = [part.to(self.device) for part in parts if isinstance(part, QuantisedMatrix)]
        if len(matrices) == len(parts) and all(matrix.same_kind(matrices[0]) for matrix in matrices):
            return QuantisedLinear(stacked(matrices), self.dtype)
        dense = [self._dense(part) for part in parts]
        return Linear(dense[0] if len(dense) == 1 else torch.cat(dense))

    def _dense(self, part: Stored) -> Tensor:
        if isinstance(part, QuantisedMatrix):
            return part.to(self.device).dense(self.dtype)
        return part.to(self.device, self.dtype, copy=True)
