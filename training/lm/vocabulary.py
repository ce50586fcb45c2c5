"""Vocabulary of the callers, numbered: what the auxiliary head listens for."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from training.world.exchanges import Memory, ask, farewell

BLANK = 0
_EXCHANGES = 4000  # enough for every word to come up


class Vocabulary:
    """Words from 1 on; 0 is the blank of connectionist temporal classification."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(sorted(set(words)))
        self._number_of = {word: number for number, word in enumerate(self.words, start=1)}

    def __len__(self) -> int:
        return 1 + len(self.words)

    def numbers(self, text: str) -> tuple[int, ...]:
        """Other words are left out."""
        return tuple(self._number_of[word] for word in text.split() if word in self._number_of)


def callers_words() -> Vocabulary:
    """Every word of the world's questions."""
    random, memory = Random("words"), Memory()
    questions = [ask(random, "train", memory).question for _ in range(_EXCHANGES)] + [farewell().question]
    return Vocabulary(word for question in questions for part in question for word in part.split())
