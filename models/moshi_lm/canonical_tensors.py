"""Checkpoint tensors under one spelling, stacked ones taken apart; errors name the key (docs/model.md 2.6)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from moshi_cluster.models.layers.quantised import QuantisedMatrix, Stored

# `in_proj_weight` (published), `in_proj.weight` (exports), `out_proj.weight`, and the same of adapters: all steps of
# the Depth Transformer stacked in blocks of rows. Canonical is `in_projs.0.weight`, upstream's own since 0.2.3.
_STACKED = re.compile(r"(?P<attention>.*\.self_attn)\.(?P<side>in|out)_proj[._](?P<kind>weight|lora_[AB]\.weight)")
_SPLIT = re.compile(r"(?P<attention>.*\.self_attn)\.(?P<side>in|out)_projs\.\d+\.weight")
_LAYER = re.compile(r"\.layers\.\d+\.")


class CanonicalTensors(Mapping[str, Stored]):
    """Tensors by their canonical names: `...self_attn.in_projs.{block}.weight`, the rest as published."""

    def __init__(self, tensors: Mapping[str, Stored], depth_blocks: int) -> None:
        """depth_blocks: sets of weights of the Depth Transformer. Raises ValueError for what is there twice."""
        self._tensors = tensors
        self._places: dict[str, tuple[str, int, int]] = {}  # canonical name -> stored name, block, blocks
        self._last: dict[str, Stored] = {}  # the stacked tensor that was read last
        self._used: set[str] = set()
        for stored in tensors:
            stacked = _STACKED.fullmatch(stored)
            if stacked is None:
                self._place(stored, stored, 0, 1)
                continue
            blocks = depth_blocks if stored.startswith("depformer.") else 1
            for block in range(blocks):
                name = f"{stacked['attention']}.{stacked['side']}_projs.{block}.{stacked['kind']}"
                self._place(name, stored, block, blocks)

    def of_shape(self, name: str, *shape: int | None) -> Stored:
        """The tensor, where it lies and in its own type. None in shape accepts any size.

        Raises ValueError naming the stored key when it is missing or of another shape.
        """
        if name not in self._places:
            raise ValueError(f"{self._spelt(name)}: missing from the checkpoint")
        self._used.add(name)
        stored, block, blocks = self._places[name]
        whole = self._read(stored, blocks)
        found = tuple(whole.shape)
        expected = (None if shape[0] is None else shape[0] * blocks, *shape[1:])
        fits = len(found) == len(expected) and all(
            wanted in (None, size) for wanted, size in zip(expected, found, strict=True)
        )
        if not fits or found[0] % blocks:
            wanted = ", ".join("any" if size is None else str(size) for size in expected)
            raise ValueError(f"{stored}: expected the shape [{wanted}], found {list(found)}")
        return _block(whole, block, blocks)

    def dense(self, name: str, *shape: int | None) -> Tensor:
        """`of_shape` as floats, where it lies."""
        part = self.of_shape(name, *shape)
        return part.dense() if isinstance(part, QuantisedMatrix) else part

    def unused(self) -> list[str]:
        """Canonical names that nobody has asked for, in order."""
        return sorted(self._places.keys() - self._used)

    def __getitem__(self, name: str) -> Stored:
        stored, block, blocks = self._places[name]
        self._used.add(name)
        return _block(self._read(stored, blocks), block, blocks)

    def _place(self, name: str, stored: str, block: int, blocks: int) -> None:
        if name in self._places:
            raise ValueError(f"{stored}: there already is {self._places[name][0]}")
        self._places[name] = stored, block, blocks

    def _spelt(self, name: str) -> str:
        """What the file would call a tensor that it lacks: as in other layers or blocks of it, else as published."""
        split = _SPLIT.fullmatch(name)
        if split is None:
            return name
        layer = _LAYER.search(name)
        for other, (stored, _, _) in self._places.items():
            if layer and _LAYER.sub(layer[0], other, count=1) == name:
                return _LAYER.sub(layer[0], stored, count=1)
        if any("_projs." in stored and stored.startswith(name.partition(".")[0]) for stored in self._tensors):
            return name
        return f"{split['attention']}.{'in_proj_weight' if split['side'] == 'in' else 'out_proj.weight'}"

    def _read(self, stored: str, blocks: int) -> Stored:
        """From the file, but the last stacked tensor, whose other blocks are asked for next."""
        if blocks == 1:
            return self._tensors[stored]
        if stored not in self._last:
            self._last = {stored: self._tensors[stored]}
        return self._last[stored]

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _block(whole: Stored, block: int, blocks: int) -> Stored:
    rows = whole.shape[0] // blocks
    return whole if blocks == 1 else whole[block * rows : (block + 1) * rows]
