"""How alike two recordings are."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.evaluate.test_opus import chirps
from training.evaluate.likeness import likeness


def test_the_same_is_the_same() -> None:
    pcm = chirps(1.5)
    same = likeness(pcm, pcm)
    assert same.stoi == pytest.approx(1, abs=1e-3)
    assert same.mel_db == same.mel_telephone_db == 0


def test_twice_as_loud_is_six_decibels_away() -> None:
    noise = np.random.default_rng(1).normal(0, 0.05, 36000).astype(np.float32)
    louder = likeness(2 * noise, noise)
    assert louder.mel_db == pytest.approx(6, abs=0.3)
    assert louder.stoi == pytest.approx(1, abs=1e-3)


def test_what_only_lies_above_a_telephone_does_not_count_there() -> None:
    noise = np.random.default_rng(2).normal(0, 0.05, 36000).astype(np.float32)
    spectrum = np.fft.rfft(noise)
    spectrum[np.fft.rfftfreq(36000, 1 / 24000) > 6000] = 0
    dull = likeness(np.fft.irfft(spectrum, 36000).astype(np.float32), noise)
    assert dull.mel_telephone_db < 0.1 * dull.mel_db
