"""Opus as a yardstick."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate.opus import through_opus


def chirps(seconds: float) -> np.ndarray:
    time = np.arange(round(24000 * seconds)) / 24000
    return (0.2 * np.sin(2 * np.pi * (300 + 200 * (time % 0.5)) * time) * (time % 0.5 < 0.3)).astype(np.float32)


def test_what_comes_back_is_as_long_and_in_step() -> None:
    pcm = chirps(2.01)
    output, _ = through_opus(pcm, 24000, 24000)
    assert output.shape == pcm.shape and output.dtype == np.float32
    assert float(np.corrcoef(output, pcm)[0, 1]) > 0.9


@pytest.mark.parametrize("bits_per_s", [6000, 16000])
def test_the_rate_is_near_what_was_asked_for(bits_per_s: int) -> None:
    _, spent = through_opus(np.random.default_rng(0).normal(0, 0.1, 72000).astype(np.float32), 24000, bits_per_s)
    assert 0.5 * bits_per_s < spent < 1.5 * bits_per_s
