"""Voices that need no synthesiser: every word is a quarter of a second of one level, a single phone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from training.world import session
from training.world.callers import CallerVoice
from training.world.speech import Span, Speech

WORD_S = 0.25
_SAMPLES = round(WORD_S * MODEL_RATE_HZ)


def say(text: str) -> Speech:
    spans = tuple(Span(word, index * WORD_S, (index + 1) * WORD_S) for index, word in enumerate(text.split()))
    phones = tuple(Span("ah", start_s, end_s) for _, start_s, end_s in spans)
    return Speech(np.full(len(spans) * _SAMPLES, 0.1, np.float32), MODEL_RATE_HZ, phones, spans)


@pytest.fixture(scope="module")
def fake_voices() -> Iterator[None]:
    """Moshi and all callers speak like this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "say", say)
        patch.setattr(CallerVoice, "say", lambda _, text: say(text))
        yield
