"""Training examples: tokenised sessions, and what can be cut from and added to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.audio.frame import FRAMES_PER_S
from moshi_cluster.models.moshi_lm.config import LmConfig
from training.lm.streams import NONE, lay_out
from training.lm.vocabulary import Vocabulary
from training.tokens import TokenSession

_HEARD_LATER_FRAMES = 4  # after its end a question's last word may still be found
_SPEAKING_MARGIN_FRAMES = 2


@dataclass(frozen=True)
class Question:
    """Calls in which the caller's words are to be found."""

    first: int
    last: int
    words: tuple[int, ...]


@dataclass(frozen=True)
class Example:
    """A session of T calls of the model."""

    inputs: Tensor  # int64 [T, 1 + n_q]
    targets: Tensor  # int64 [T, 1 + dep_q]
    speaking: Tensor  # bool [T], Moshi speaks within a frame or two
    phones: Tensor  # int64 [T, 4], the caller's, of the newest frame that the call reads
    questions: tuple[Question, ...]
    cuts: tuple[int, ...]  # calls at which a question begins that, with all after it, needs nothing said before

    def __len__(self) -> int:
        return len(self.inputs)


def example(session: TokenSession, config: LmConfig, vocabulary: Vocabulary) -> Example:
    """From a tokenised session."""
    inputs, targets = lay_out(session.tokens(), config)
    active = torch.from_numpy(session.moshi_active).float()[None, None]
    width = 1 + 2 * _SPEAKING_MARGIN_FRAMES
    speaking = F.max_pool1d(active, width, stride=1, padding=_SPEAKING_MARGIN_FRAMES)[0, 0] > 0
    phones = torch.full((len(inputs), session.user_phones.shape[1]), NONE)
    phones[1:] = torch.from_numpy(session.user_phones[:-1]).long()
    questions = [_question(turn, len(inputs), vocabulary) for turn in session.turns]
    cuts = [question.first for index, question in enumerate(questions) if not _looks_back(session.turns[index:])]
    possible = [question for question in questions if question.last - question.first >= 2 * len(question.words)]
    return Example(inputs, targets, speaking, phones, tuple(possible), tuple(cuts))


def heard_only(whole: Example) -> Example:
    """An example of which nothing is to be said: a caller to whom nobody answers."""
    nothing = torch.full_like(whole.targets, NONE)
    return replace(whole, targets=nothing, speaking=torch.zeros_like(whole.speaking))


def ending(whole: Example, at: int) -> Example:
    """The calls from `at` on."""
    questions = [question for question in whole.questions if question.first >= at]
    return Example(
        inputs=whole.inputs[at:],
        targets=whole.targets[at:],
        speaking=whole.speaking[at:],
        phones=whole.phones[at:],
        questions=_moved(questions, -at),
        cuts=tuple(cut - at for cut in whole.cuts if cut >= at),
    )


def joined(first: Example, second: Example) -> Example:
    """One after the other."""
    return Example(
        inputs=torch.cat((first.inputs, second.inputs)),
        targets=torch.cat((first.targets, second.targets)),
        speaking=torch.cat((first.speaking, second.speaking)),
        phones=torch.cat((first.phones, second.phones)),
        questions=first.questions + _moved(second.questions, len(first)),
        cuts=first.cuts + tuple(cut + len(first) for cut in second.cuts),
    )


def _question(turn: Mapping[str, Any], calls: int, vocabulary: Vocabulary) -> Question:
    first = int(turn["user_start_s"] * FRAMES_PER_S) + 1
    last = min(int(turn["user_end_s"] * FRAMES_PER_S) + _HEARD_LATER_FRAMES, calls - 1)
    return Question(first, last, vocabulary.numbers(turn["user_text"]))


def _looks_back(turns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of them can only be answered by who heard the caller's name before."""
    for turn in turns:
        if turn["kind"] == "name":
            return False
        if turn["kind"] == "name-asked" and turn["reply_text"].startswith("your name"):
            return True
    return False


def _moved(questions: Sequence[Question], by: int) -> tuple[Question, ...]:
    return tuple(Question(question.first + by, question.last + by, question.words) for question in questions)
