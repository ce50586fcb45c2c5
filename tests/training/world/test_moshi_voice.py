"""Moshi's voice: pauses between letters, and the real thing where flite is installed."""

from __future__ import annotations

import ctypes.util

import numpy as np
import pytest

from training.world.moshi_voice import say, with_pauses

needs_flite = pytest.mark.skipif(ctypes.util.find_library("flite") is None, reason="flite is not installed")


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("cat is c a t", "cat is c, a, t"),
        ("ice is i c e", "ice is i, c, e"),
        ("i am fine", "i am fine"),
        ("hello i am moshi", "hello i am moshi"),
    ],
)
def test_letters_are_said_one_by_one(text: str, spoken: str) -> None:
    assert with_pauses(text) == spoken


@needs_flite
def test_words_have_their_times_and_fill_the_sentence() -> None:
    speech = say("three plus four is seven")
    assert [word.label for word in speech.words] == ["three", "plus", "four", "is", "seven"]
    assert speech.words[0].start_s == 0.0
    for word, following in zip(speech.words, speech.words[1:], strict=False):
        assert word.end_s == pytest.approx(following.start_s, abs=1e-4)
    assert speech.words[-1].end_s == pytest.approx(len(speech.samples) / 24000, abs=0.05)


@needs_flite
def test_the_level_is_about_minus_twenty_decibels() -> None:
    samples = np.concatenate([say(text).samples for text in ("good morning", "after nine comes ten")])
    assert -23 < 20 * np.log10(np.sqrt(np.mean(samples**2))) < -17


@needs_flite
def test_the_same_sentence_is_the_same_samples() -> None:
    first = say("the sky is blue").samples
    say.cache_clear()
    say("goodbye")
    np.testing.assert_array_equal(say("the sky is blue").samples, first)
