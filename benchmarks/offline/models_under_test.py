"""Model under test, loaded once, with sessions and floors for any batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from benchmarks.offline.floors import Work, lm_work, mimi_work
from benchmarks.offline.lm import LmSteps
from benchmarks.offline.mimi import MimiFrames
from benchmarks.offline.model_sizes import ModelSize
from moshi_cluster.models.mimi import Mimi, MimiConfig
from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm

_FRESH_FRAMES = 0


class ModelUnderTest(Protocol):
    """What the LM and the codec have in common here."""

    def ages(self) -> list[int]:
        """Frames that sessions hold when they are opened, one variant each."""

    def sessions(self, batch: int, age: int) -> LmSteps | MimiFrames:
        """Open sessions."""

    def held(self, age: int, steps: int) -> int:
        """Entries that attention reads half-way through so many steps."""

    def work(self, batch: int, held: int) -> Work:
        """What a step must do."""


class LmUnderTest:
    """Sessions that have just begun, and sessions whose window is full."""

    def __init__(self, size: ModelSize, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        self._tensors, self._config = tensors, size.config
        self._lm = MoshiLm.from_tensors(tensors, LmConfig.from_dict(size.config), torch.bfloat16, device)

    def ages(self) -> list[int]:
        """Frames that sessions hold when they are opened, one variant each."""
        return [_FRESH_FRAMES, self._lm.config.context]

    def sessions(self, batch: int, age: int) -> LmSteps:
        """Open sessions."""
        return LmSteps(self._lm, batch, age)

    def held(self, age: int, steps: int) -> int:
        """Entries that attention reads half-way through so many steps."""
        return min(age + steps // 2, self._lm.config.context)

    def work(self, batch: int, held: int) -> Work:
        """What a step must do."""
        return lm_work(self._tensors, self._config, batch, held)


class MimiUnderTest:
    """Sessions whose windows are full."""

    def __init__(self, size: ModelSize, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        self._tensors = tensors
        self._mimi = Mimi.from_tensors(tensors, MimiConfig.from_dict(size.config), device=device)

    def ages(self) -> list[int]:
        """Frames that sessions hold when they are opened, one variant each."""
        return [self._mimi.config.context]

    def sessions(self, batch: int, age: int) -> MimiFrames:
        """Open sessions."""
        return MimiFrames(self._mimi, batch)

    def held(self, age: int, steps: int) -> int:
        """Entries that attention reads half-way through so many steps."""
        return age

    def work(self, batch: int, held: int) -> Work:
        """What a step must do."""
        return mimi_work(self._tensors, self._mimi.config, batch, held)


def model_under_test(size: ModelSize, tensors: Mapping[str, Tensor], device: torch.device) -> ModelUnderTest:
    """tensors: of a model of that size."""
    return LmUnderTest(size, tensors, device) if size.kind == "lm" else MimiUnderTest(size, tensors, device)
