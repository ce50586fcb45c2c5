"""Random tensors by name: the same on every machine, whatever is made before or after them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class RandomTensors:
    """A dictionary of tensors in the making. Every tensor has a generator of its own, seeded by (seed, name)."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.tensors: dict[str, Tensor] = {}

    def normal(self, name: str, shape: Sequence[int], std: float, mean: float = 0.0) -> None:
        """Independent normal values."""
        values = self._generator(name).standard_normal(tuple(shape), dtype=np.float32)
        self.tensors[name] = torch.from_numpy(values * np.float32(std) + np.float32(mean))

    def product(self, name: str, shape: Sequence[int], gain: float, inputs: int | None = None) -> None:
        """Weights [out, in, ...] of a product that multiplies the standard deviation of its input by `gain`.

        inputs: values summed into one output, the product of all axes but the first unless given.
        """
        fan_in = int(np.prod(shape[1:])) if inputs is None else inputs
        self.normal(name, shape, gain / fan_in**0.5)

    def uniform(self, name: str, shape: Sequence[int], low: float, high: float) -> None:
        """Independent values, all equally likely between low and high."""
        values = self._generator(name).random(tuple(shape), dtype=np.float32)
        self.tensors[name] = torch.from_numpy(values * np.float32(high - low) + np.float32(low))

    def _generator(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, zlib.crc32(name.encode())])
