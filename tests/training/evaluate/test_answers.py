"""Which words answer which question."""

from __future__ import annotations

from typing import Any

import pytest

from moshi_cluster.models.loading.tokenizer import Tokenizer
from training.evaluate.answers import accuracy, answers, shown, spoken
from training.text import save_tokenizer, tokenizer


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    save_tokenizer(path)
    return Tokenizer(path)


def turn(kind: str, start: float, end: float, reply: str, **flags: bool) -> dict[str, Any]:
    usual = {"interrupts": False, "interrupted": False, "unseen": False}
    return (
        {"kind": kind, "user_text": "", "reply_text": reply, "user_start_s": start, "user_end_s": end} | usual | flags
    )


def text(frames: int, **words: int) -> list[int]:
    """Padding, and words at frames, the end of padding before each."""
    stream = [3] * frames
    for word, frame in words.items():
        (stream[frame],) = tokenizer().encode(word)
        stream[frame - 1] = 0
    return stream


def test_words_belong_to_the_question_before_them(pieces: Tokenizer) -> None:
    stream = text(100, hello=5, blue=30, tiger=34, goodbye=80)
    turns = [turn("repeat", 1.0, 2.0, "blue tiger"), turn("farewell", 5.0, 6.0, "goodbye")]
    found = answers(turns, shown(stream, pieces))
    assert [answer.said for answer in found] == ["blue tiger", "goodbye"]
    assert all(answer.right for answer in found)


def test_a_word_too_many_makes_an_answer_wrong(pieces: Tokenizer) -> None:
    stream = text(100, blue=30, tiger=34, red=50)
    (answer,) = answers([turn("repeat", 1.0, 2.0, "blue tiger")], shown(stream, pieces))
    assert answer.said == "blue tiger red"
    assert not answer.right


def test_a_call_without_questions_has_no_answers(pieces: Tokenizer) -> None:
    assert answers([], shown(text(50, hello=5), pieces)) == []


def test_an_interrupted_answer_ends_with_the_interruption_and_is_not_counted(pieces: Tokenizer) -> None:
    turns = [
        turn("list", 1.0, 2.0, "one two", interrupted=True),
        turn("farewell", 4.0, 5.0, "goodbye", interrupts=True),
    ]
    found = answers(turns, shown(text(100, one=30, two=40, three=58, goodbye=70), pieces))
    assert [answer.said for answer in found] == ["one two", "goodbye"]  # "three" came too late to be either's
    assert accuracy(found) == {"all": (1, 1), "farewell": (1, 1)}


def test_accuracy_is_counted_by_kind_and_for_unseen_combinations(pieces: Tokenizer) -> None:
    stream = text(100, blue=30, red=55, goodbye=85)
    turns = [
        turn("repeat", 1.0, 2.0, "blue", unseen=True),
        turn("repeat", 3.0, 4.0, "green", unseen=True),
        turn("farewell", 6.0, 6.5, "goodbye"),
    ]
    counted = accuracy(answers(turns, shown(stream, pieces)))
    assert counted == {"all": (2, 3), "farewell": (1, 1), "repeat": (1, 2), "unseen": (1, 2)}


def test_padding_is_not_spoken(pieces: Tokenizer) -> None:
    assert spoken(shown([3, 0, 3, 3], pieces)) == ""
