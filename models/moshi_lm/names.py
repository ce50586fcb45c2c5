"""The tensors of a checkpoint under one spelling, with errors that name the key."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from models.layers.linear import Linear
from models.moshi_lm.config import LmConfig

# `in_proj_weight` (published), `in_proj.weight` (exports), `out_proj.weight`: all steps of the Depth Transformer
# stacked in blocks of rows. `in_projs.0.weight` (in memory since 0.2.3) is the spelling used here.
_STACKED = re.compile(r"(?P<attention>.*\.self_attn)\.(?P<side>in|out)_proj(_weight|\.weight)")


class Weights:
    """Looks tensors up by their canonical names (`...self_attn.in_projs.{block}.weight`, the rest as published)."""

    def __init__(
        self, tensors: Mapping[str, Tensor], config: LmConfig, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        self._tensors = tensors
        self.dtype = dtype
        self.device = device
        self._places: dict[str, tuple[str, int, int]] = {}  # canonical name -> stored name, block, blocks
        for stored in tensors:
            stacked = _STACKED.fullmatch(stored)
            if stacked is None:
                self._places[stored] = (stored, 0, 1)
                continue
            blocks = config.depth_blocks if stored.startswith("depformer.") else 1
            for block in range(blocks):
                name = f"{stacked['attention']}.{stacked['side']}_projs.{block}.weight"
                self._places[name] = (stored, block, blocks)

    def tensor(self, name: str, *shape: int | None) -> Tensor:
        """The tensor in the model's type, on its device. None in shape accepts any size. Raises ValueError."""
        if name not in self._places:
            raise ValueError(f"{name}: missing from the checkpoint")
        stored, block, blocks = self._places[name]
        whole = self._tensors[stored]
        expected = (None if shape[0] is None else shape[0] * blocks, *shape[1:])
        fits = whole.dim() == len(expected) and all(
            wanted in (None, size) for wanted, size in zip(expected, whole.shape, strict=True)
        )
        if not fits or whole.shape[0] % blocks:
            wanted = ", ".join("any" if size is None else str(size) for size in expected)
            raise ValueError(f"{stored}: expected the shape [{wanted}], found {list(whole.shape)}")
        rows = whole.shape[0] // blocks
        return whole[block * rows : (block + 1) * rows].to(self.device, self.dtype)

    def linear(self, name: str, out_features: int | None, in_features: int | None) -> Linear:
        """name: without `.weight`."""
        return Linear(self.tensor(f"{name}.weight", out_features, in_features))

    def vector(self, name: str, size: int) -> Tensor:
        """A [size] tensor in float32, stored as [size] or [1, 1, size]."""
        stored = self._tensors.get(name)
        if stored is not None and tuple(stored.shape) == (1, 1, size):
            return stored.to(self.device).flatten().float()
        return self.tensor(name, size).float()
