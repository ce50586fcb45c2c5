"""What is heard when, and cutting and joining sessions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from moshi_cluster.models.moshi_lm import LmConfig
from tests.training.lm.sessions import session
from training.lm.examples import Example, Question, ending, example, heard_only, joined
from training.lm.sizes import lm_config
from training.lm.streams import NONE
from training.lm.vocabulary import Vocabulary

CONFIG = LmConfig.from_dict(lm_config(text_card=24, card=20))
WORDS = Vocabulary(["spell", "cat"])


def made(frames: int = 60) -> Example:
    return example(session(1, frames), CONFIG, WORDS)


def test_of_a_caller_alone_nothing_is_to_be_said() -> None:
    whole, heard = made(), heard_only(made())
    assert (heard.targets == NONE).all()
    assert not heard.speaking.any()
    assert heard.questions == whole.questions
    assert torch.equal(heard.inputs, whole.inputs)


def test_a_call_knows_the_phones_of_the_newest_frame_it_reads() -> None:
    one = session(1)
    assert made().phones[0].tolist() == [NONE] * 4
    assert torch.equal(made().phones[1:], torch.from_numpy(one.user_phones[:-1]).long())
    # The newest frame is the one whose first code the call reads.
    assert torch.equal(made().inputs[1:, CONFIG.generated], torch.from_numpy(one.user[0, :-1]).long())


def test_the_words_of_a_question_are_looked_for_until_shortly_after_it() -> None:
    assert made().questions == (Question(21, 34, WORDS.numbers("spell cat")),)


def test_a_question_with_more_words_than_frames_is_not_looked_for() -> None:
    one = session(1, asked=" ".join(["cat"] * 20))
    assert example(one, CONFIG, WORDS).questions == ()


def test_an_ending_keeps_only_the_questions_that_it_has_whole() -> None:
    assert ending(made(), 20).questions == (Question(1, 14, WORDS.numbers("spell cat")),)
    assert ending(made(), 22).questions == ()
    assert torch.equal(ending(made(), 22).inputs, made().inputs[22:])


def test_joining_moves_what_the_second_one_asks() -> None:
    both = joined(made(50), made(60))
    assert len(both) == 110
    assert [question.first for question in both.questions] == [21, 71] == list(both.cuts)


def turn(kind: str, reply: str, start_s: float) -> dict[str, Any]:
    times = {"user_start_s": start_s, "user_end_s": start_s + 0.8}
    return session(1).turns[0] | {"kind": kind, "reply_text": reply} | times


NAMED = turn("name", "nice to meet you anna", 1.0)
COLOR = turn("color", "the sky is blue", 2.0)
KNOWN = turn("name-asked", "your name is anna", 3.0)
UNKNOWN = turn("name-asked", "i do not know your name", 3.0)


@pytest.mark.parametrize(
    ("turns", "cuts"),
    [([NAMED, COLOR, KNOWN], 1), ([COLOR, COLOR], 2), ([COLOR, UNKNOWN], 2), ([KNOWN, NAMED], 1)],
    ids=["name is asked later", "no name", "name not known anyway", "another name is given later"],
)
def test_what_only_the_beginning_tells_is_never_asked_after_a_cut(turns: list[dict[str, Any]], cuts: int) -> None:
    assert len(example(replace(session(1), turns=turns), CONFIG, WORDS).cuts) == cuts
