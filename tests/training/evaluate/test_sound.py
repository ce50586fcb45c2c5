"""Finding speech in sound."""

from __future__ import annotations

import numpy as np
import pytest

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.pcm import Samples
from training.evaluate.sound import audible, stops_after_s, trimmed


def tone(*spans: tuple[float, float], seconds: float = 4.0) -> Samples:
    """A tone of -20 dBFS within the spans, noise of -70 dBFS everywhere."""
    time_s = np.arange(round(seconds * MODEL_RATE_HZ)) / MODEL_RATE_HZ
    inside = np.any([(time_s >= start) & (time_s < end) for start, end in spans], axis=0)
    noise = np.random.default_rng(1).standard_normal(len(time_s)) * 10 ** (-70 / 20)
    return (0.14 * np.sin(2 * np.pi * 440 * time_s) * inside + noise).astype(np.float32)


def test_noise_far_below_speech_is_not_audible() -> None:
    heard = audible(tone((1.0, 2.0)))
    assert heard.sum() == 100
    assert heard[100:200].all()


def test_trimming_leaves_the_speech_and_a_short_margin() -> None:
    assert len(trimmed(tone((1.0, 1.5), (2.0, 2.5)))) / MODEL_RATE_HZ == pytest.approx(1.6, abs=0.02)
    assert len(trimmed(tone((5.0, 6.0)))) == 0


def test_speech_stops_where_a_silence_begins_not_at_a_short_gap() -> None:
    sound = tone((0.5, 1.2), (1.3, 1.8))
    assert stops_after_s(sound, 1.0) == pytest.approx(0.8, abs=0.02)


def test_a_pause_between_words_at_the_onset_is_still_speech() -> None:
    assert stops_after_s(tone((0.5, 1.0), (1.1, 1.5)), 1.05) == pytest.approx(0.45, abs=0.02)


def test_nothing_stops_in_silence() -> None:
    assert stops_after_s(tone((0.5, 1.0)), 2.0) is None


def test_speech_that_never_stops_lasts_to_the_end() -> None:
    assert stops_after_s(tone((0.5, 4.0)), 1.0) == pytest.approx(3.0, abs=0.02)
