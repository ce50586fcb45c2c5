"""Spectral losses: mel spectra at several resolutions and how far apart two sounds are in them."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.audio.frame import MODEL_RATE_HZ

RESOLUTIONS = ((256, 20), (512, 40), (1024, 64), (2048, 80))
"""Window in samples and mel bands; windows overlap by three quarters."""
LOG_FLOOR = 1e-4  # amplitude, -80 dB: below it silence is silence


def spectrum(pcm: Tensor, window: int) -> Tensor:
    """pcm: [B, samples] -> complex [B, window / 2 + 1, T]; a sine of amplitude 1 has magnitude 1."""
    shape = torch.hann_window(window)
    return torch.stft(pcm, window, window // 4, window=shape * (2 / shape.sum()), center=False, return_complex=True)


def mel_magnitudes(pcm: Tensor, window: int, bands: int) -> Tensor:
    """pcm: [B, samples] -> [B, bands, T]."""
    power = torch.view_as_real(spectrum(pcm, window)).square().sum(dim=-1)
    return mel_matrix(window, bands) @ (power + 1e-12).sqrt()


def mel_distance(output: Tensor, target: Tensor, resolutions: int = len(RESOLUTIONS)) -> Tensor:
    """Mean distance of log and linear mel spectra: output, target [B, samples] -> scalar.

    resolutions: how many of RESOLUTIONS, chosen anew at random by every call.
    """
    total = output.new_zeros(())
    chosen = torch.randperm(len(RESOLUTIONS))[:resolutions]
    for window, bands in (RESOLUTIONS[index] for index in chosen.tolist()):
        with torch.no_grad():
            wanted = mel_magnitudes(target, window, bands)
        got = mel_magnitudes(output, window, bands)
        log = F.l1_loss((got + LOG_FLOOR).log(), (wanted + LOG_FLOOR).log())
        linear = (got - wanted).abs().mean() / (wanted.mean() + 1e-3)
        total = total + log + linear
    return total / resolutions


def mel_centres_hz(bands: int) -> Tensor:
    """[bands]: where each band is most sensitive."""
    return _mel_edges(bands)[1:-1]


def _mel_edges(bands: int, low_hz: float = 0.0, high_hz: float = MODEL_RATE_HZ / 2) -> Tensor:
    low, high = (_mel(torch.tensor(hertz)) for hertz in (low_hz, high_hz))
    return _hertz(low + torch.linspace(0, 1, bands + 2) * (high - low))


@cache
def mel_matrix(window: int, bands: int, low_hz: float = 0.0, high_hz: float = MODEL_RATE_HZ / 2) -> Tensor:
    """[bands, window / 2 + 1]: triangles whose weights sum to one."""
    edges = _mel_edges(bands, low_hz, high_hz)
    bins = torch.linspace(0, MODEL_RATE_HZ / 2, window // 2 + 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rows = torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clamp(min=0)
    nearest = F.one_hot((edges[1:-1, None] - bins).abs().argmin(dim=1), len(bins)).to(rows.dtype)
    rows = torch.where(rows.sum(dim=1, keepdim=True) > 0, rows, nearest)  # bands narrower than a bin
    return rows / rows.sum(dim=1, keepdim=True)


def _mel(hertz: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + hertz / 700)


def _hertz(mel: Tensor) -> Tensor:
    return 700 * (10 ** (mel / 2595) - 1)
