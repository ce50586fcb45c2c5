"""Likeness of two recordings of an utterance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pystoi import stoi
from torch import Tensor

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from training.mimi.spectra import LOG_FLOOR, RESOLUTIONS, mel_centres_hz, mel_magnitudes

SHORTEST_S = 0.6
"""The intelligibility measure needs some 0.4 s of speech."""

_TELEPHONE_HZ = 4000.0


@dataclass(frozen=True)
class Likeness:
    """An utterance after coding beside what went in."""

    stoi: float  # short-time objective intelligibility (Taal et al. 2011), 0 to 1
    mel_db: float  # mean distance of mel spectra in decibels
    mel_telephone_db: float  # the same, of bands up to 4 kHz


def likeness(output: NDArray[np.float32], target: NDArray[np.float32]) -> Likeness:
    """output, target: [N] at 24 kHz, at least SHORTEST_S long."""
    all_db, low_db = _mel_distances_db(torch.from_numpy(output)[None], torch.from_numpy(target)[None])
    return Likeness(float(stoi(target, output, MODEL_RATE_HZ)), all_db, low_db)


def _mel_distances_db(output: Tensor, target: Tensor) -> tuple[float, float]:
    every, low = [], []
    for window, bands in RESOLUTIONS:
        got, wanted = (20 * torch.log10(mel_magnitudes(pcm, window, bands) + LOG_FLOOR) for pcm in (output, target))
        distance = (got - wanted).abs()
        every.append(distance.mean())
        low.append(distance[:, mel_centres_hz(bands) <= _TELEPHONE_HZ].mean())
    return float(torch.stack(every).mean()), float(torch.stack(low).mean())
