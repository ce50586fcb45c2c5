"""Other sample rates, the same sound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.world.resample import resample


def _tone(rate_hz: int, frequency_hz: float, seconds: float = 0.5) -> np.ndarray:
    time_s = np.arange(round(rate_hz * seconds)) / rate_hz
    return np.sin(2 * np.pi * frequency_hz * time_s).astype(np.float32)


@pytest.mark.parametrize(("before_hz", "after_hz"), [(16000, 24000), (22050, 24000), (24000, 8000), (8000, 24000)])
def test_a_tone_is_the_same_tone(before_hz: int, after_hz: int) -> None:
    resampled = resample(_tone(before_hz, 440.0), after_hz / before_hz)
    inner = slice(after_hz // 20, -after_hz // 20)
    np.testing.assert_allclose(resampled[inner], _tone(after_hz, 440.0)[inner], atol=0.01)


def test_what_the_lower_rate_cannot_carry_is_gone() -> None:
    inner = resample(_tone(24000, 6000.0), 1 / 3)[400:-400]
    assert np.abs(inner).max() < 0.01


@given(st.integers(1, 5000), st.sampled_from([24000 / 22050, 1.5, 1 / 3, 0.93]))
def test_the_length_follows_the_factor(length: int, factor: float) -> None:
    assert len(resample(np.ones(length, np.float32), factor)) == round(length * factor)
