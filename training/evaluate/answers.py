"""Judgement of answers: which answer belongs to which question, and whether it is right."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moshi_cluster.audio.frame import FRAMES_PER_S
from moshi_cluster.models.loading.tokenizer import Tokenizer

Pieces = Sequence[str]
"""What every frame of a call adds to the text: mostly nothing."""

STOP_FRAMES = 4  # after the onset of an interruption, what is still said belongs to the interrupted answer


@dataclass(frozen=True)
class Answer:
    """What Moshi said to one question."""

    kind: str
    asked: str
    expected: str
    said: str
    first_frame: int  # of the frames in which the answer was looked for
    last_frame: int  # one beyond
    interrupted: bool  # by the caller's next question
    unseen: bool  # a combination that training left out

    @property
    def right(self) -> bool:
        return self.said == self.expected


def answers(turns: Sequence[Mapping[str, Any]], pieces: Pieces) -> list[Answer]:
    """An answer is everything said from the end of its question to the end of the next one; an answer that is
    interrupted ends with the interruption.
    """
    found = []
    for turn, following in zip(turns, [*turns[1:], None], strict=False):
        first = math.floor(turn["user_end_s"] * FRAMES_PER_S)
        last = len(pieces)
        if following is not None:
            last = math.floor(following["user_end_s"] * FRAMES_PER_S)
            if turn["interrupted"]:
                last = math.floor(following["user_start_s"] * FRAMES_PER_S) + STOP_FRAMES
        found.append(
            Answer(
                kind=turn["kind"],
                asked=turn["user_text"],
                expected=turn["reply_text"],
                said=spoken(pieces[first:last]),
                first_frame=first,
                last_frame=last,
                interrupted=turn["interrupted"],
                unseen=turn["unseen"],
            )
        )
    return found


def shown(tokens: Iterable[int], tokenizer: Tokenizer) -> list[str]:
    """A text token for every frame -> what it adds to the text."""
    return [tokenizer.piece(token) for token in tokens]


def spoken(pieces: Pieces) -> str:
    """The text as a person reads it."""
    return "".join(pieces).strip()


def accuracy(given: Iterable[Answer]) -> dict[str, tuple[int, int]]:
    """Right answers and all answers by kind, "all" and "unseen" among the kinds; interrupted answers do not count:
    where exactly they end is not right or wrong."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for answer in given:
        if answer.interrupted:
            continue
        for kind in (answer.kind, "all", *(("unseen",) if answer.unseen else ())):
            counts[kind][0] += answer.right
            counts[kind][1] += 1
    return {kind: (right, asked) for kind, (right, asked) in sorted(counts.items())}
