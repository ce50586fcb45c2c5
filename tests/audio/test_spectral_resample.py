"""Recordings and loops at other sample rates, the same sound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.audio.spectral_resample import resample_loop, resample_recording


def tone(rate_hz: int, frequency_hz: float, seconds: float = 0.5) -> np.ndarray:
    time_s = np.arange(round(rate_hz * seconds)) / rate_hz
    return np.sin(2 * np.pi * frequency_hz * time_s).astype(np.float32)


@pytest.mark.parametrize(("before_hz", "after_hz"), [(16_000, 24_000), (22_050, 24_000), (24_000, 8_000)])
def test_a_tone_is_the_same_tone(before_hz, after_hz):
    resampled = resample_recording(tone(before_hz, 440.0), after_hz / before_hz)
    inner = slice(after_hz // 20, -after_hz // 20)
    np.testing.assert_allclose(resampled[inner], tone(after_hz, 440.0)[inner], atol=0.01)


def test_what_the_lower_rate_cannot_carry_is_gone():
    inner = resample_recording(tone(24_000, 6_000.0), 1 / 3)[400:-400]
    assert np.abs(inner).max() < 0.01


@given(st.integers(1, 5_000), st.sampled_from([24_000 / 22_050, 1.5, 1 / 3, 0.93]))
def test_the_length_follows_the_factor(length, factor):
    assert len(resample_recording(np.ones(length, np.float32), factor)) == round(length * factor)


@pytest.mark.parametrize(("before_hz", "after_hz"), [(24_000, 8_000), (8_000, 24_000), (16_000, 24_000)])
def test_a_loop_is_the_same_to_its_very_ends(before_hz, after_hz):
    """440 Hz repeat without a seam after half a second."""
    loop = resample_loop(tone(before_hz, 440.0), after_hz // 2)
    np.testing.assert_allclose(loop, tone(after_hz, 440.0), atol=1e-5)
