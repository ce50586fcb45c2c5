"""Callers' voices; those that speak need the synthesisers' libraries."""

from __future__ import annotations

import ctypes.util
from random import Random

import numpy as np
import pytest

from training.world.callers import LEVEL, CallerVoice, caller_voice

_ESPEAK = CallerVoice("espeak-ng", "en-us+f2", 0.5, 0.5, 1.0)
_FLITE = CallerVoice("flite", "rms", 0.5, 0.5, 1.0)
_LIBRARIES = {"espeak-ng": "espeak-ng", "flite": "flite"}


def _speaks(who: CallerVoice) -> CallerVoice:
    if ctypes.util.find_library(_LIBRARIES[who.synthesiser]) is None:
        pytest.skip(f"{who.synthesiser} is not installed")
    return who


def test_a_cell_is_a_voice_with_a_third_of_the_pitches_and_paces() -> None:
    assert CallerVoice("flite", "kal", 0.0, 1.0, 1.0).cell == "kal 0 2"
    assert CallerVoice("flite", "kal", 0.34, 0.65, 1.0).cell == "kal 1 1"


def test_both_synthesisers_have_many_callers() -> None:
    callers = [caller_voice(Random(f"caller {number}"), "train") for number in range(400)]
    share = sum(found.synthesiser == "flite" for found in callers) / len(callers)
    assert 0.3 < share < 0.6
    assert len({found.cell for found in callers}) > 150


@pytest.mark.parametrize("who", [_ESPEAK, _FLITE], ids=lambda who: who.synthesiser)
def test_phones_begin_and_end_with_the_sound(who: CallerVoice) -> None:
    speech = _speaks(who).say("what comes after tuesday")
    start_s, end_s = speech.voiced
    length_s = len(speech.samples) / speech.sample_rate_hz
    assert start_s < 0.05 and length_s - end_s < 0.06
    spoken = [phone for phone in speech.phones if phone.label != "pau"]
    assert 14 <= len(spoken) <= 20
    assert [phone.label for phone in spoken][-2:] in (["d", "ey"], ["d", "iy"])


@pytest.mark.parametrize("who", [_ESPEAK, _FLITE], ids=lambda who: who.synthesiser)
def test_every_utterance_has_the_same_level(who: CallerVoice) -> None:
    for text in ("goodbye", "repeat after me blue dog"):
        assert np.sqrt(np.mean(_speaks(who).say(text).samples ** 2)) == pytest.approx(LEVEL, rel=1e-3)


@pytest.mark.parametrize("who", [_ESPEAK, _FLITE], ids=lambda who: who.synthesiser)
def test_a_slower_caller_takes_longer(who: CallerVoice) -> None:
    slow, quick = (CallerVoice(**_speaks(who).settings() | {"pace": pace}) for pace in (0.0, 1.0))
    assert len(slow.say("what is my name").samples) > 1.2 * len(quick.say("what is my name").samples)


def test_an_unknown_voice_is_an_error() -> None:
    with pytest.raises(ValueError, match="no-such-voice"):
        _speaks(CallerVoice("espeak-ng", "no-such-voice", 0.5, 0.5, 1.0)).say("hello")
