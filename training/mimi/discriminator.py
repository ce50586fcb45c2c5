"""Spectral discriminators of real and decoded sound (Defossez et al. 2022, arXiv 2210.13438, 3.4, much smaller)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.mimi.spectra import spectrum

_WINDOWS = (512, 1024)
_CHANNELS = (8, 16, 16)
_SLOPE = 0.2

Judgement = tuple[Tensor, list[Tensor]]
"""One window length's scores, and the inner maps that led to them."""


class SpectrumJudge(nn.Module):
    """Convolutions over time and frequency of one window length."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self._window = window
        widths = (2, *_CHANNELS)
        self.layers = nn.ModuleList(
            nn.Conv2d(inner, outer, (7, 3), stride=(3, 1), padding=(3, 1))
            for inner, outer in zip(widths[:-1], widths[1:], strict=True)
        )
        self.last = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, pcm: Tensor) -> Judgement:
        """pcm: [B, samples] -> scores [B, 1, F, T] and maps."""
        x = torch.view_as_real(spectrum(pcm, self._window)).permute(0, 3, 1, 2)
        # Quiet parts are heard as well as loud ones: magnitudes are compressed to their cube root.
        x = x * (x.square().sum(dim=1, keepdim=True) + 1e-8).pow(-1 / 3)
        maps = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
            maps.append(x)
        return self.last(x), maps


class Discriminator(nn.Module):
    """A judge per window length."""

    def __init__(self) -> None:
        super().__init__()
        self.judges = nn.ModuleList(SpectrumJudge(window) for window in _WINDOWS)

    def forward(self, pcm: Tensor) -> list[Judgement]:
        """pcm: [B, samples]."""
        return [judge(pcm) for judge in self.judges]


def judge_loss(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """Hinge loss of the discriminator."""
    losses = [F.relu(1 - r).mean() + F.relu(1 + f).mean() for (r, _), (f, _) in zip(real, fake, strict=True)]
    return torch.stack(losses).mean()


def deceit_loss(fake: Sequence[Judgement]) -> Tensor:
    """Hinge loss of the decoder."""
    return torch.stack([-scores.mean() for scores, _ in fake]).mean()


def feature_loss(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """Mean distance of inner maps, relative to their size."""
    pairs = [(r, f) for (_, rs), (_, fs) in zip(real, fake, strict=True) for r, f in zip(rs, fs, strict=True)]
    return torch.stack([(f - r.detach()).abs().mean() / r.detach().abs().mean() for r, f in pairs]).mean()
