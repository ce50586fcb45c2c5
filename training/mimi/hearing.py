"""Perceptual loss: the distance of two sounds as a speech recogniser hears them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.mimi.spectra import mel_matrix

_WINDOW, _HOP, _TRANSFORM = 614, 240, 1024  # 25.6 ms every 10 ms, as recognisers of speech have it
_BANDS, _LOW_HZ, _HIGH_HZ = 32, 130.0, 6800.0
_FLOOR = 3e-4  # amplitude, -70 dB
_DELTA_BLOCKS = 4
_DELTA = 0.5


def hearing_distance(output: Tensor, target: Tensor) -> Tensor:
    """Mean distance of log spectra in the bands of speech and of their changes: [B, samples] twice -> scalar."""
    got = heard(output)
    with torch.no_grad():
        wanted = heard(target)
    return F.l1_loss(got, wanted) + _DELTA * F.l1_loss(_changes(got), _changes(wanted))


def heard(pcm: Tensor) -> Tensor:
    """pcm: [B, samples] -> log magnitudes [B, bands, T]; an amplitude of 1 is 0."""
    window = torch.hann_window(_WINDOW)
    spectrum = torch.stft(
        pcm, _TRANSFORM, _HOP, _WINDOW, window * (2 / window.sum()), center=False, return_complex=True
    )
    power = torch.view_as_real(spectrum).square().sum(dim=-1)
    bands = mel_matrix(_TRANSFORM, _BANDS, _LOW_HZ, _HIGH_HZ) @ power
    return (bands + _FLOOR**2).log() / 2


def _changes(x: Tensor) -> Tensor:
    return x[..., _DELTA_BLOCKS:] - x[..., :-_DELTA_BLOCKS]
