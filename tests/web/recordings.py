"""What a downloaded recording proves: the reply is in one channel, and how much later than in the other."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 24_000
WINDOW_S = 0.5
LONGEST_DELAY_S = 2.0
AUDIBLE = 300.0  # root mean square of 16 bit samples
ALIKE = 0.6

Samples = NDArray[np.float64]


def read(file: Path) -> tuple[Samples, Samples]:
    """The caller's and Moshi's voice, each [T]. Raises if it is not the WAV file that it should be."""
    with wave.open(str(file)) as recording:
        assert (recording.getframerate(), recording.getnchannels(), recording.getsampwidth()) == (RATE_HZ, 2, 2)
        both = np.frombuffer(recording.readframes(recording.getnframes()), np.int16).reshape(-1, 2).astype(np.float64)
    return both[:, 0], both[:, 1]


def echo_delays_s(file: Path) -> list[float]:
    """For each audible half second of the reply that is clearly an echo of the caller: how old it is."""
    mine, reply = read(file)
    window, longest = int(WINDOW_S * RATE_HZ), int(LONGEST_DELAY_S * RATE_HZ)
    delays = []
    for start in range(0, len(reply) - window, window):
        piece = reply[start : start + window]
        before = mine[max(0, start - longest) : start + window]
        if np.sqrt((piece**2).mean()) < AUDIBLE:
            continue
        likeness = _likeness(piece, before)
        best = int(np.argmax(likeness))
        if likeness[best] > ALIKE:
            delays.append((len(before) - window - best) / RATE_HZ)
    return delays


def _likeness(piece: Samples, where: Samples) -> Samples:
    """Normalised correlation of [N] with every stretch of [T]: [T - N + 1]."""
    size = len(where) + len(piece)
    product = np.fft.irfft(np.fft.rfft(where, size) * np.conj(np.fft.rfft(piece, size)), size)
    energy = np.concatenate(([0.0], np.cumsum(where**2)))
    energy = energy[len(piece) :] - energy[: -len(piece)]
    return np.asarray(product[: len(energy)] / np.sqrt(np.maximum(energy, 1.0) * (piece**2).sum()))
