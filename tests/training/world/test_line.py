"""Level, noise and telephone."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from training.world.line import CallerLine, caller_line

_CLEAR = CallerLine(level_dbfs=-20.0, noise="white", noise_db=None, bursts=0, telephone=False, low_cut_hz=0.0)


def _speech(frequency_hz: float = 1000.0, seconds: float = 2.0) -> np.ndarray:
    """A tone of RMS -20 dBFS."""
    time_s = np.arange(round(seconds * MODEL_RATE_HZ)) / MODEL_RATE_HZ
    return (0.1 * np.sqrt(2) * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def _level_db(samples: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean((samples / 32768) ** 2)) + 1e-9))


def test_the_level_is_that_of_the_line() -> None:
    quieter = CallerLine(**_CLEAR.settings() | {"level_dbfs": -30.0})
    assert _level_db(quieter.carry(_speech(), 1)) == pytest.approx(-30.0, abs=0.1)


@pytest.mark.parametrize("noise", ["white", "pink", "brown"])
def test_noise_lies_as_far_below_speech_as_asked(noise: str) -> None:
    noisy = CallerLine(**_CLEAR.settings() | {"noise": noise, "noise_db": 25.0})
    assert _level_db(noisy.carry(np.zeros(48000, np.float32), 1)) == pytest.approx(-45.0, abs=0.5)


def test_a_silent_room_is_silent_also_on_the_telephone() -> None:
    telephone = CallerLine(**_CLEAR.settings() | {"telephone": True})
    assert not telephone.carry(np.zeros(24000, np.float32), 1).any()


def test_a_telephone_carries_what_lies_below_four_kilohertz() -> None:
    telephone = CallerLine(**_CLEAR.settings() | {"telephone": True, "low_cut_hz": 300.0})
    assert _level_db(telephone.carry(_speech(1000.0), 1)) == pytest.approx(-20.0, abs=1.0)
    assert _level_db(telephone.carry(_speech(6000.0), 1)[4000:-4000]) < -60
    assert _level_db(telephone.carry(_speech(80.0), 1)) < -35


def test_bursts_are_heard_and_end() -> None:
    knocking = CallerLine(**_CLEAR.settings() | {"bursts": 1})
    heard = knocking.carry(np.zeros(4 * MODEL_RATE_HZ, np.float32), 3)
    assert heard.any()
    assert np.count_nonzero(heard) < 0.35 * MODEL_RATE_HZ


def test_the_same_call_sounds_the_same() -> None:
    noisy = CallerLine(**_CLEAR.settings() | {"noise_db": 20.0, "telephone": True})
    np.testing.assert_array_equal(noisy.carry(_speech(), 7), noisy.carry(_speech(), 7))


def test_most_calls_come_over_a_telephone() -> None:
    trained = [caller_line(Random(f"line {number}"), "train") for number in range(1000)]
    evaluated = [caller_line(Random(f"line {number}"), "eval") for number in range(1000)]
    assert 750 < sum(found.telephone for found in trained) < 850
    assert 550 < sum(found.telephone for found in evaluated) < 650
