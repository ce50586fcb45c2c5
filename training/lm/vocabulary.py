"""The words that callers say, numbered: what the auxiliary head listens for."""

from __future__ import annotations

from collections.abc import Iterable

BLANK = 0


class Vocabulary:
    """Words from 1 on; 0 is the blank of connectionist temporal classification."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(sorted(set(words)))
        self._number_of = {word: number for number, word in enumerate(self.words, start=1)}

    def __len__(self) -> int:
        return 1 + len(self.words)

    def numbers(self, text: str) -> tuple[int, ...]:
        """Words that no session of the training said are left out."""
        return tuple(self._number_of[word] for word in text.split() if word in self._number_of)
