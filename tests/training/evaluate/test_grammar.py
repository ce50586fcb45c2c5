"""The recogniser's grammar covers what Moshi says; read here by a small translation to a regular expression."""

from __future__ import annotations

import re
from random import Random

import pytest

from training.evaluate.grammar import grammar
from training.world.exchanges import GREETING, Memory, ask, farewell


def _pattern() -> re.Pattern[str]:
    rules = dict(re.findall(r"<(\w+)> = (.*);", grammar()))

    def expression(body: str) -> str:
        body = re.sub(r"<(\w+)>", lambda found: f"({expression(rules[found[1]])})", body)
        return body.replace("[", "(").replace("]", ")?")

    tight = re.sub(r"\s*([()|?+])\s*", r"\1", expression(rules["reply"]))
    return re.compile(re.sub(r" ?([a-z]+)", r" \1", tight))  # a space before every word


@pytest.fixture(scope="module")
def pattern() -> re.Pattern[str]:
    return _pattern()


def test_every_reply_is_a_sentence_of_the_grammar(pattern: re.Pattern[str]) -> None:
    random, memories = Random("grammar"), (Memory(), Memory("anna"))
    replies = {ask(random, "eval", memory).reply for _ in range(2000) for memory in memories}
    for reply in replies | {GREETING, farewell().reply}:
        assert pattern.fullmatch(f" {reply}"), reply


def test_wrong_answers_are_sentences_too(pattern: re.Pattern[str]) -> None:
    for reply in ("three plus four is eight", "after monday comes friday", "the sky is red", "cat is d o g"):
        assert pattern.fullmatch(f" {reply}"), reply


def test_other_sentences_are_not(pattern: re.Pattern[str]) -> None:
    for text in ("the weather is nice", "three plus is seven", "monday four"):
        assert not pattern.fullmatch(f" {text}"), text
