"""Calls made longer or shorter."""

from __future__ import annotations

from dataclasses import replace

import torch

from moshi_cluster.models.moshi_lm import LmConfig
from tests.training.lm.sessions import session
from training.lm.examples import Example, example
from training.lm.sizes import lm_config
from training.lm.variety import Variety
from training.lm.vocabulary import Vocabulary

CONFIG = LmConfig.from_dict(lm_config(text_card=24, card=20))
WORDS = Vocabulary(["spell", "cat"])
TALK = example(session(1, 60), CONFIG, WORDS)
QUIET = example(replace(session(2, 70), turns=[]), CONFIG, WORDS)


def varied(one: Example, times: int = 200) -> list[Example]:
    random = torch.Generator().manual_seed(1)
    variety = Variety([TALK, QUIET], longest=120)
    return [variety.vary(one, random) for _ in range(times)]


def test_most_calls_stay_as_they_are() -> None:
    assert 130 < sum(len(each) == 60 and torch.equal(each.inputs, TALK.inputs) for each in varied(TALK)) < 170


def test_some_begin_shortly_before_their_question() -> None:
    shorter = [each for each in varied(TALK) if len(each) < 60 and torch.equal(each.inputs, TALK.inputs[-len(each) :])]
    assert len(shorter) > 20
    assert all(3 <= each.questions[0].first < 12 for each in shorter)


def test_a_few_of_these_wait_in_silence_first() -> None:
    waiting = [each for each in varied(TALK) if len(each) > 60]
    assert waiting
    assert max(map(len, waiting)) <= 120
    assert all(torch.equal(each.inputs[-5:], TALK.inputs[-5:]) for each in waiting)


def test_a_call_without_questions_stays_silent_for_as_long_as_the_memory_lasts() -> None:
    for each in varied(QUIET, 3):
        assert len(each) == 120
        assert torch.equal(each.inputs[:70], QUIET.inputs)
        assert each.questions == ()


def test_without_silent_calls_nothing_is_added() -> None:
    random, variety = torch.Generator().manual_seed(1), Variety([TALK], longest=120)
    assert max(len(variety.vary(TALK, random)) for _ in range(100)) == 60
