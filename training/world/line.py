"""Telephone line: what lies between a caller's mouth and Moshi's ear; level, noise, and a telephone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.g711 import G711_RATE_HZ, decode_mulaw, nearest_mulaw
from moshi_cluster.audio.pcm import Samples
from moshi_cluster.audio.spectral_resample import resample_recording
from training.world.holdout import Split

_TELEPHONE_SHARE: dict[Split, float] = {"train": 0.8, "eval": 0.6}
# How steeply the power of a noise falls with frequency: power ~ f ** -slope.
_NOISES = {"white": 0.0, "pink": 1.0, "brown": 2.0}


@dataclass(frozen=True)
class CallerLine:
    """`level_dbfs` is the RMS of speech; `noise_db` how far the noise lies below it, None for a silent room."""

    level_dbfs: float
    noise: str
    noise_db: float | None
    bursts: int
    telephone: bool
    low_cut_hz: float

    def settings(self) -> dict[str, Any]:
        return asdict(self)

    def carry(self, samples: Samples, noise_seed: int) -> NDArray[np.int16]:
        """A whole call [N] of RMS -20 dBFS speech -> what arrives, as int16 [N]."""
        generator = np.random.default_rng(noise_seed)
        heard = samples * _amplitude(self.level_dbfs + 20)
        if self.noise_db is not None:
            level = _amplitude(self.level_dbfs - self.noise_db)
            heard = heard + level * _coloured(generator, len(heard), _NOISES[self.noise])
        for _ in range(self.bursts):
            _add_burst(generator, heard, _amplitude(self.level_dbfs - 12))
        if self.telephone:
            heard = _through_telephone(heard, self.low_cut_hz)
        return np.clip(np.round(heard * 32768), -32768, 32767).astype(np.int16)


def caller_line(random: Random, split: Split) -> CallerLine:
    """Most calls come over a telephone, a quarter from a silent room."""
    return CallerLine(
        level_dbfs=random.uniform(-30, -17),
        noise=random.choice(tuple(_NOISES)),
        noise_db=random.uniform(15, 40) if random.random() < 0.75 else None,
        bursts=random.randint(1, 3) if random.random() < 0.15 else 0,
        telephone=random.random() < _TELEPHONE_SHARE[split],
        low_cut_hz=random.choice((0.0, 200.0, 300.0)),
    )


def _through_telephone(samples: Samples, low_cut_hz: float) -> Samples:
    narrow = resample_recording(samples, G711_RATE_HZ / MODEL_RATE_HZ)
    if low_cut_hz:
        narrow = _high_passed(narrow, low_cut_hz)
    wide = resample_recording(decode_mulaw(nearest_mulaw(narrow)), MODEL_RATE_HZ / G711_RATE_HZ)
    return np.pad(wide, (0, max(0, len(samples) - len(wide))))[: len(samples)]


def _high_passed(samples: Samples, cut_hz: float) -> Samples:
    spectrum = np.fft.rfft(samples)
    frequencies = np.fft.rfftfreq(len(samples), 1 / G711_RATE_HZ)
    # Second order: the fall of a telephone's transformer.
    squared = (frequencies / cut_hz) ** 2
    filtered = np.fft.irfft(spectrum * squared / (1 + squared), len(samples))
    return filtered.astype(np.float32)


def _coloured(generator: np.random.Generator, count: int, slope: float) -> Samples:
    """Noise of RMS 1."""
    white = np.fft.rfft(generator.standard_normal(count, dtype=np.float32))
    frequencies = np.maximum(np.fft.rfftfreq(count, 1 / MODEL_RATE_HZ), 40.0)
    noise = np.fft.irfft(white * frequencies ** (-slope / 2), count)
    loudness = float(np.sqrt(np.mean(noise**2)))
    return np.asarray(noise / loudness, dtype=np.float32)


def _add_burst(generator: np.random.Generator, samples: Samples, level: float) -> None:
    """A knock, a cough, a chair: 40 to 300 ms of noise that dies away, at a random place."""
    length = int(generator.uniform(0.04, 0.3) * MODEL_RATE_HZ)
    start = int(generator.integers(0, max(1, len(samples) - length)))
    shape = np.exp(-4 * np.linspace(0, 1, length, dtype=np.float32))
    burst = level * shape * _coloured(generator, length, float(generator.uniform(0, 2)))
    samples[start : start + length] += burst[: len(samples) - start]


def _amplitude(decibels: float) -> float:
    return float(10 ** (decibels / 20))
