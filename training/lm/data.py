"""Tokenised sessions in memory, and batches of whole sessions or their ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.moshi_lm.config import LmConfig
from training.lm.streams import NONE, lay_out
from training.lm.vocabulary import Vocabulary
from training.tokens import TokenSession, load, stored

_POOL_BATCHES = 8  # sessions of about the same length are batched within a pool of this many batches


@dataclass(frozen=True)
class Example:
    """A session, ready to be batched; T calls."""

    inputs: Tensor  # int64 [T, 1 + n_q]
    targets: Tensor  # int64 [T, 1 + dep_q]
    speaking: Tensor  # bool [T], Moshi speaks within a frame or two
    phones: Tensor  # int64 [T, 4], the caller's, that the model has heard when it reads its newest frame
    asked: tuple[tuple[int, int, tuple[int, ...]], ...]  # first and last call of a question, its words


@dataclass(frozen=True)
class Batch:
    """B sessions, padded at the end."""

    inputs: Tensor  # int64 [B, T, 1 + n_q]
    targets: Tensor  # int64 [B, T, 1 + dep_q]
    speaking: Tensor  # bool [B, T]
    phones: Tensor  # int64 [B, T, 4], NONE in the padding
    asked: tuple[tuple[int, int, int, tuple[int, ...]], ...]  # row, first and last call, words

    @property
    def frames(self) -> int:
        return self.inputs.shape[0] * self.inputs.shape[1]


def load_examples(folder: Path, config: LmConfig, vocabulary: Vocabulary) -> list[Example]:
    """All sessions of a folder."""
    return [example(load(path), config, vocabulary) for path in stored(folder)]


def example(session: TokenSession, config: LmConfig, vocabulary: Vocabulary) -> Example:
    inputs, targets = lay_out(session.tokens(), config)
    T = len(inputs)
    active = torch.from_numpy(session.moshi_active).float()
    # One frame later for the delayed codes, one more on each side for good measure.
    speaking = torch.nn.functional.max_pool1d(active[None, None], 5, stride=1, padding=2)[0, 0] > 0
    phones = torch.full((T, session.user_phones.shape[1]), NONE)
    phones[1:] = torch.from_numpy(session.user_phones[:-1]).long()
    asked = []
    for turn in session.turns:
        first = int(turn["user_start_s"] * 12.5) + 1
        last = min(int(turn["user_end_s"] * 12.5) + 4, T - 1)
        words = vocabulary.numbers(turn["user_text"])
        if last - first >= 2 * len(words):
            asked.append((first, last, words))
    return Example(inputs, targets, speaking, phones, tuple(asked))


class Batches:
    """Endless batches, in an order that follows from the seed and the number of the pass."""

    def __init__(self, examples: list[Example], frames_per_batch: int, seed: int) -> None:
        self._examples = examples
        self._frames = frames_per_batch
        self._seed = seed

    def forever(self, first_pass: int = 0) -> Iterator[tuple[int, Batch]]:
        """(number of the pass, batch)."""
        number = first_pass
        while True:
            for batch in self.one_pass(number):
                yield number, batch
            number += 1

    def one_pass(self, number: int) -> Iterator[Batch]:
        random = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
        order = torch.randperm(len(self._examples), generator=random).tolist()
        mean = sum(len(example.inputs) for example in self._examples) / len(self._examples)
        pool = max(1, round(_POOL_BATCHES * self._frames / mean))
        for start in range(0, len(order), pool):
            chosen = [self._cut(self._examples[index], random) for index in order[start : start + pool]]
            groups = list(self._grouped(sorted(chosen, key=lambda example: len(example.inputs))))
            for index in torch.randperm(len(groups), generator=random).tolist():
                yield collate(groups[index])

    def _grouped(self, examples: list[Example]) -> Iterator[list[Example]]:
        group: list[Example] = []
        for following in examples:
            if group and len(following.inputs) * (len(group) + 1) > self._frames * 1.1:
                yield group
                group = []
            group.append(following)
        yield group

    def _cut(self, example: Example, random: torch.Generator) -> Example:
        """A quarter of the sessions lose their beginning, as they do in a call longer than the model's memory."""
        if float(torch.rand((), generator=random)) >= 0.25 or not example.asked:
            return example
        later = int(torch.randint(len(example.asked), (), generator=random))
        at = example.asked[later][0] - int(torch.randint(3, 12, (), generator=random))
        return ending(example, max(0, at))


def ending(example: Example, at: int) -> Example:
    """The calls from `at` on."""
    asked = tuple((first - at, last - at, words) for first, last, words in example.asked if first >= at)
    parts = (example.inputs[at:], example.targets[at:], example.speaking[at:], example.phones[at:])
    return Example(*parts, asked)


def collate(examples: list[Example]) -> Batch:
    T = max(len(example.inputs) for example in examples)

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
        asked=tuple((row, *question) for row, example in enumerate(examples) for question in example.asked),
    )
