"""The recogniser that listens to replies."""

from __future__ import annotations

import ctypes.util

import numpy as np
import pytest

pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed: pip install '.[train]'")

from training.evaluate.recognise import Recogniser
from training.world.moshi_voice import say


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser()


def test_silence_is_no_sentence(recogniser: Recogniser) -> None:
    assert recogniser.hear(np.zeros(24000, np.int16)) == ""


@pytest.mark.skipif(ctypes.util.find_library("flite") is None, reason="flite is not installed")
def test_moshis_clean_voice_is_understood(recogniser: Recogniser) -> None:
    replies = (
        "hello i am moshi",
        "three plus four is seven",
        "dog is d o g",
        "after tuesday comes wednesday",
        "blue tiger",
    )
    heard = [recogniser.hear(np.round(say(reply).samples * 32767).astype(np.int16)) for reply in replies]
    assert heard == list(replies)
