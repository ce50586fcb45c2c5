"""Batches: padding, size, and every session once per pass."""

from __future__ import annotations

from itertools import islice

from moshi_cluster.models.moshi_lm import LmConfig
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
    batches = Batches(examples, 200, seed=3, longest=75)

    def order(number: int) -> list[list[list[int]]]:
        return [[each.inputs[-1].tolist() for each in group] for group in batches.one_pass(number)]

    assert order(1) == order(1) != order(2)
    assert sum(map(len, order(1))) == 23


def test_batches_are_about_as_large_as_asked_for() -> None:
    examples = [example(session(number, 40 + 3 * number), CONFIG, WORDS) for number in range(40)]
    sizes = [collate(group).frames for group in Batches(examples, 600, seed=1, longest=75).one_pass(0)]
    assert max(sizes) <= 660


def test_processes_share_the_batches_of_a_pass() -> None:
    examples = [example(session(number, 50 + number), CONFIG, WORDS) for number in range(23)]
    alone = Batches(examples, 200, seed=3, longest=75)
    first, second = (Batches(examples, 200, seed=3, longest=75, part=part, parts=2) for part in (0, 1))
    batches = islice(zip(first.forever(), second.forever(), strict=True), 3)
    in_turn = [batch.inputs.tolist() for pair in batches for _, batch in pair]
    assert in_turn == [collate(group).inputs.tolist() for group in islice(alone.one_pass(0), 6)]
