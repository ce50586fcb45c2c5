"""Batches of sessions of about the same length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from training.lm.examples import Example, Question
from training.lm.streams import NONE
from training.lm.variety import Variety

_POOL_BATCHES = 8  # sessions of about the same length are batched within a pool of this many batches


@dataclass(frozen=True)
class Batch:
    """B sessions, padded at the end."""

    inputs: Tensor  # int64 [B, T, 1 + n_q]
    targets: Tensor  # int64 [B, T, 1 + dep_q]
    speaking: Tensor  # bool [B, T]
    phones: Tensor  # int64 [B, T, 4], NONE in the padding
    questions: tuple[tuple[int, Question], ...]  # with their rows

    @property
    def frames(self) -> int:
        return self.inputs.shape[0] * self.inputs.shape[1]


class Batches:
    """Endless batches, in an order that follows from the seed and the number of the pass."""

    def __init__(
        self, examples: list[Example], frames_per_batch: int, seed: int, longest: int, part: int = 0, parts: int = 1
    ) -> None:
        """longest: calls that an example may grow to when it is varied; part of parts: every batch belongs to one."""
        self._examples = examples
        self._variety = Variety(examples, longest)
        self._frames = frames_per_batch
        self._seed = seed
        self._part, self._parts = part, parts

    def forever(self, first_pass: int = 0) -> Iterator[tuple[int, Batch]]:
        """(number of the pass, batch)."""
        number = first_pass
        while True:
            for group in self._own(self.one_pass(number)):
                yield number, collate(group)
            number += 1

    def _own(self, groups: Iterator[list[Example]]) -> Iterator[list[Example]]:
        """Every part gets equally many: what is left over at the end of a pass is left out."""
        while len(round_ := list(islice(groups, self._parts))) == self._parts:
            yield round_[self._part]

    def one_pass(self, number: int) -> Iterator[list[Example]]:
        """Groups of examples, a batch each."""
        random = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
        order = torch.randperm(len(self._examples), generator=random).tolist()
        mean = sum(len(example) for example in self._examples) / len(self._examples)
        pool = max(1, round(_POOL_BATCHES * self._frames / mean))
        for start in range(0, len(order), pool):
            chosen = [self._variety.vary(self._examples[index], random) for index in order[start : start + pool]]
            groups = list(self._grouped(sorted(chosen, key=lambda example: len(example))))
            for index in torch.randperm(len(groups), generator=random).tolist():
                yield groups[index]

    def _grouped(self, examples: list[Example]) -> Iterator[list[Example]]:
        group: list[Example] = []
        for following in examples:
            if group and len(following) * (len(group) + 1) > self._frames * 1.1:
                yield group
                group = []
            group.append(following)
        yield group


def collate(examples: list[Example]) -> Batch:
    T = max(len(example) for example in examples)

    def padded(tensors: list[Tensor], value: int) -> Tensor:
        stacked = tensors[0].new_full((len(tensors), T, *tensors[0].shape[1:]), value)
        for row, tensor in zip(stacked, tensors, strict=True):
            row[: len(tensor)] = tensor
        return stacked

    return Batch(
        inputs=padded([example.inputs for example in examples], 0),
        targets=padded([example.targets for example in examples], NONE),
        speaking=padded([example.speaking for example in examples], 0),
        phones=padded([example.phones for example in examples], NONE),
        questions=tuple((row, question) for row, each in enumerate(examples) for question in each.questions),
    )
