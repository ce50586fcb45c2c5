"""Batches: padding, size, and every session once per pass."""

from __future__ import annotations

from models.moshi_lm import LmConfig
from tests.training.lm.sessions import session
from training.lm.data import Batches, collate
from training.lm.examples import example
from training.lm.sizes import lm_config
from training.lm.streams import NONE
from training.lm.vocabulary import Vocabulary

CONFIG = LmConfig.from_dict(lm_config(text_card=24, card=20))
WORDS = Vocabulary(["spell", "cat"])


def test_padding_is_no_target() -> None:
    long, short = (example(session(1, frames), CONFIG, WORDS) for frames in (60, 45))
    batch = collate([long, short])
    assert bool((batch.targets[1, 45:] == NONE).all() and (batch.phones[1, 45:] == NONE).all())
    assert not batch.speaking[1, 45:].any()
    assert batch.frames == 120
    assert [row for row, _ in batch.questions] == [0, 1]


def test_a_pass_has_every_session_once_and_the_same_seed_the_same_order() -> None:
    examples = [example(session(number, 50 + number), CONFIG, WORDS) for number in range(23)]

    def order(number: int) -> list[list[list[int]]]:
        return [batch.inputs[:, 40].tolist() for batch in Batches(examples, 200, seed=3, longest=75).one_pass(number)]

    assert order(1) == order(1) != order(2)
    assert sum(map(len, order(1))) == 23


def test_batches_are_about_as_large_as_asked_for() -> None:
    examples = [example(session(number, 40 + 3 * number), CONFIG, WORDS) for number in range(40)]
    sizes = [batch.frames for batch in Batches(examples, 600, seed=1, longest=75).one_pass(0)]
    assert max(sizes) <= 660
