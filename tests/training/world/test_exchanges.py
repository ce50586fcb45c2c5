"""What is asked and answered: right answers, and what the training never sees."""

from __future__ import annotations

from random import Random

import pytest

from training.world.exchanges import ANY_WORD, Exchange, Memory, ask
from training.world.holdout import Split
from training.world.words import DAYS, MONTHS, NUMBERS, REPEATED

_VALUE = {word: value for value, word in enumerate(NUMBERS)}


def _asked(split: Split, count: int = 6000) -> list[Exchange]:
    random, memory = Random(f"test {split}"), Memory()
    return [ask(random, split, memory) for _ in range(count)]


@pytest.fixture(scope="module")
def trained() -> list[Exchange]:
    return _asked("train")


@pytest.fixture(scope="module")
def evaluated() -> list[Exchange]:
    return _asked("eval")


def _replies(exchanges: list[Exchange], kind: str) -> set[str]:
    return {exchange.reply for exchange in exchanges if exchange.kind == kind}


def test_sums_and_differences_are_right(evaluated: list[Exchange]) -> None:
    for reply in _replies(evaluated, "plus") | _replies(evaluated, "minus"):
        a, operation, b, _, result = reply.split()
        expected = _VALUE[a] + _VALUE[b] if operation == "plus" else _VALUE[a] - _VALUE[b]
        assert _VALUE[result] == expected, reply


def test_neighbours_are_right_and_days_and_months_go_round(evaluated: list[Exchange]) -> None:
    replies = _replies(evaluated, "neighbour")
    assert {"after sunday comes monday", "before january comes december", "after nine comes ten"} <= replies
    for reply in replies:
        side, asked, _, answer = reply.split()
        cycle = next(cycle for cycle in (DAYS, MONTHS, NUMBERS) if asked in cycle)
        step = 1 if side == "after" else -1
        assert cycle[(cycle.index(asked) + step) % len(cycle)] == answer


def test_spelling_says_the_letters(trained: list[Exchange]) -> None:
    for reply in _replies(trained, "spell"):
        word, _, *letters = reply.split()
        assert "".join(letters) == word


def test_the_name_that_was_given_last_is_known() -> None:
    memory, random = Memory(), Random(1)
    unknown = set()
    for exchange in (ask(random, "train", memory) for _ in range(500)):
        if exchange.kind == "name-asked":
            expected = f"your name is {memory.name}" if memory.name else "i do not know your name"
            assert exchange.reply == expected
            unknown.add(memory.name is None)
    assert unknown == {True, False}


def test_training_asks_nothing_that_is_left_to_the_evaluation(
    trained: list[Exchange], evaluated: list[Exchange]
) -> None:
    assert not any(exchange.unseen for exchange in trained)
    held = {exchange.question for exchange in evaluated if exchange.unseen}
    assert {kind.kind for kind in evaluated if kind.unseen} == {"repeat", "plus"}
    assert not held & {exchange.question for exchange in trained}


def test_the_evaluation_asks_to_repeat_only_what_training_never_did(evaluated: list[Exchange]) -> None:
    assert all(exchange.unseen for exchange in evaluated if exchange.kind == "repeat")


def test_training_repeats_more_words_than_the_evaluation(trained: list[Exchange], evaluated: list[Exchange]) -> None:
    repeated = [
        {word for reply in _replies(asked, "repeat") for word in reply.split()} for asked in (trained, evaluated)
    ]
    assert repeated[1] == set(REPEATED)
    assert repeated[0] == set(ANY_WORD)


def test_the_mirror_of_a_sum_that_training_leaves_out_is_in_it(
    trained: list[Exchange], evaluated: list[Exchange]
) -> None:
    known = _replies(trained, "plus")
    for exchange in evaluated:
        if exchange.kind == "plus" and exchange.unseen:
            a, _, b, _, result = exchange.reply.split()
            assert f"{b} plus {a} is {result}" in known


def test_the_world_has_at_most_three_hundred_words(trained: list[Exchange]) -> None:
    words = {word for exchange in trained for part in (*exchange.question, exchange.reply) for word in part.split()}
    assert 100 < len(words) <= 300
