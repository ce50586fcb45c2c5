"""Data augmentation: calls that the world does not make, longer ones and some whose beginning is forgotten."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from training.lm.examples import Example, ending, joined

_FORGOTTEN_SHARE = 0.25  # of the calls lose their beginning
_WAITING_SHARE = 0.25  # of these begin with a long silence instead
_GREETING_CALLS = 40  # after which a call without questions is silent
_LEAD_CALLS = (3, 12)  # kept before the question that follows a cut


class Variety:
    """Varies examples up to `longest` calls."""

    def __init__(self, examples: Sequence[Example], longest: int) -> None:
        self._longest = longest
        quiet = [each for each in examples if not each.questions and len(each) > _GREETING_CALLS]
        self._silences = [ending(each, _GREETING_CALLS) for each in quiet]

    def vary(self, example: Example, random: torch.Generator) -> Example:
        """The example itself, most of the time."""
        if not example.questions:
            return self._with_silence_after(example, random)
        if not example.cuts or _uniform(random) >= _FORGOTTEN_SHARE:
            return example
        cut = example.cuts[_integer(random, 0, len(example.cuts))]
        rest = ending(example, max(0, cut - _integer(random, *_LEAD_CALLS)))
        return self._with_silence_before(rest, random) if _uniform(random) < _WAITING_SHARE else rest

    def _with_silence_after(self, example: Example, random: torch.Generator) -> Example:
        while self._silences and len(example) < self._longest:
            example = joined(example, self._silence(random, self._longest - len(example)))
        return example

    def _with_silence_before(self, example: Example, random: torch.Generator) -> Example:
        room = self._longest - len(example)
        wanted = _integer(random, 0, max(1, room))
        while self._silences and wanted > 0:
            silence = self._silence(random, wanted)
            example, wanted = joined(silence, example), wanted - len(silence)
        return example

    def _silence(self, random: torch.Generator, longest: int) -> Example:
        silence = self._silences[_integer(random, 0, len(self._silences))]
        return ending(silence, max(0, len(silence) - longest))


def _uniform(random: torch.Generator) -> float:
    return float(torch.rand((), generator=random))


def _integer(random: torch.Generator, low: int, high: int) -> int:
    """low to high - 1."""
    return int(torch.randint(low, high, (), generator=random))
