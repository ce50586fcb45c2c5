"""Times of phones and words follow what happens to the samples."""

from __future__ import annotations

import numpy as np

from training.world.speech import Span, Speech

_SPEECH = Speech(
    np.arange(100, dtype=np.float32),
    100,
    (Span("pau", 0.0, 0.2), Span("ay", 0.2, 0.6), Span("m", 0.6, 0.9), Span("pau", 0.9, 1.0)),
    (Span("i", 0.2, 0.6), Span("am", 0.6, 0.9)),
)


def test_speech_is_voiced_between_its_pauses() -> None:
    assert _SPEECH.voiced == (0.2, 0.9)


def test_a_cut_keeps_what_overlaps_it_and_counts_from_its_start() -> None:
    cut = _SPEECH.cut(0.3, 0.8)
    np.testing.assert_array_equal(cut.samples, np.arange(30, 80))
    assert [word.label for word in cut.words] == ["i", "am"]
    np.testing.assert_allclose([word[1:] for word in cut.words], [(0.0, 0.3), (0.3, 0.5)])
    assert [phone.label for phone in cut.phones] == ["ay", "m"]


def test_what_only_touches_a_cut_is_not_in_it() -> None:
    assert [word.label for word in _SPEECH.cut(0.6, 0.9).words] == ["am"]


def test_slower_speech_has_later_phones() -> None:
    slower = _SPEECH.stretched(np.zeros(150, np.float32), 100, 1.5)
    np.testing.assert_allclose(slower.voiced, (0.3, 1.35))
