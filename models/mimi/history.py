"""Convolution history: what convolutions remember between frames, many layers in one tensor."""

from __future__ import annotations

from math import prod

from torch import Tensor


class ConvHistory:
    """Where each layer's past lies in one row of floats.

    One tensor for all layers makes fetching and storing the state of any set of sessions a single copy each.
    """

    def __init__(self, shapes: list[tuple[int, int]]) -> None:
        """shapes: (steps, width) of each layer's past."""
        self._shapes = shapes
        self._sizes = [prod(shape) for shape in shapes]
        self.floats = sum(self._sizes)

    def split(self, history: Tensor) -> list[Tensor]:
        """[N, floats] -> one view [N, steps, width] per layer."""
        parts = history.split(self._sizes, dim=1)
        return [part.view(-1, *shape) for part, shape in zip(parts, self._shapes, strict=True)]
