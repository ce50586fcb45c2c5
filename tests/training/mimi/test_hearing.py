"""The distance that a recogniser would notice."""

from __future__ import annotations

import math

import pytest
import torch

from tests.training.mimi.small import noise
from training.mimi.hearing import heard, hearing_distance

SAMPLE_RATE_HZ = 24000


def tone(hertz: float) -> torch.Tensor:
    return 0.1 * torch.sin(torch.arange(14400) * (2 * math.pi * hertz / SAMPLE_RATE_HZ))[None]


def test_the_same_sound_has_no_distance_and_a_louder_one_the_logarithm_of_its_factor() -> None:
    sound = noise(1, 6)
    assert hearing_distance(sound, sound) == 0
    assert hearing_distance(2 * sound, sound).item() == pytest.approx(math.log(2), rel=0.01)


def test_a_delay_of_the_waveform_hardly_counts_but_another_tone_does() -> None:
    shifted = torch.roll(tone(440), 20, dims=1)
    assert hearing_distance(shifted[:, 600:-600], tone(440)[:, 600:-600]) < 0.02
    assert hearing_distance(tone(880), tone(440)) > 0.3


def test_what_recognisers_leave_out_does_not_count() -> None:
    speech = noise(1, 6)
    far, near = (hearing_distance(speech + tone(hertz)[:, : speech.shape[1]], speech) for hertz in (10000, 3000))
    assert far < near / 5


def test_a_fluctuation_counts_more_than_a_constant_error_of_its_size() -> None:
    sound = noise(1, 10)
    swing = torch.sin(torch.arange(sound.shape[1]) * (2 * math.pi * 8 / SAMPLE_RATE_HZ)).exp()
    constant = swing.log().abs().mean().exp()
    assert hearing_distance(sound * swing, sound) > 1.2 * hearing_distance(sound * constant, sound)


def test_silence_is_heard_as_the_floor() -> None:
    assert torch.allclose(heard(torch.zeros(1, 4800)), torch.tensor(math.log(3e-4)))
