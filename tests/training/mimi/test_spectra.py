"""Spectra and their distance."""

from __future__ import annotations

import math

import pytest
import torch

from tests.training.mimi.small import noise
from training.mimi.spectra import RESOLUTIONS, mel_centres_hz, mel_distance, mel_magnitudes, spectrum


def tone(frequency_hz: float, amplitude: float) -> torch.Tensor:
    return amplitude * torch.sin(2 * math.pi * frequency_hz * torch.arange(24000) / 24000)[None]


@pytest.mark.parametrize("window", [window for window, _ in RESOLUTIONS])
def test_a_sine_has_its_amplitude_as_magnitude(window: int) -> None:
    loudest = spectrum(tone(1500, 0.3), window).abs().amax()
    assert float(loudest) == pytest.approx(0.3, rel=1e-3)


@pytest.mark.parametrize(("window", "bands"), RESOLUTIONS)
def test_a_sine_is_loudest_in_its_band(window: int, bands: int) -> None:
    magnitudes = mel_magnitudes(tone(3000, 0.5), window, bands).mean(dim=2)[0]
    nearest = (mel_centres_hz(bands) - 3000).abs().argmin()
    assert abs(int(magnitudes.argmax()) - int(nearest)) <= 1


def test_the_distance_is_zero_for_the_same_and_grows_with_the_difference() -> None:
    pcm, other = noise(1, 5, seed=1), noise(1, 5, seed=2)
    little = pcm + 0.1 * other
    assert float(mel_distance(pcm, pcm)) == 0
    assert 0 < float(mel_distance(little, pcm)) < float(mel_distance(other, pcm))


def test_some_resolutions_are_all_of_them_on_average() -> None:
    torch.manual_seed(0)
    pcm, other = noise(1, 3, seed=1), noise(1, 3, seed=2)
    some = torch.stack([mel_distance(pcm, other, 2) for _ in range(150)])
    assert some.std() > 0
    assert float(some.mean()) == pytest.approx(float(mel_distance(pcm, other)), rel=0.05)
