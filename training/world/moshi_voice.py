"""Moshi's voice: flite's slt with fixed settings, so that the same sentence is the same samples every time."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.spectral_resample import resample_recording
from training.world.flite import flite_voice
from training.world.speech import Speech

_GAIN = 0.56  # slt's sentences then have about -20 dBFS RMS
_TAIL_S = 0.03
_FADE_IN_S, _FADE_OUT_S = 0.002, 0.02


@lru_cache(maxsize=4096)
def say(text: str) -> Speech:
    """A sentence of Moshi's at 24 kHz from the first phone to shortly after the last one.

    Letters are said by their names, with pauses between them. Words come back exactly as in `text`.
    """
    spoken = flite_voice("slt").speak(with_pauses(text))
    words = text.split()
    if len(words) != len(spoken.words):
        raise ValueError(f"flite said {len(spoken.words)} words for the {len(words)} of {text!r}")
    start_s, end_s = spoken.voiced
    speech = spoken.cut(start_s, end_s + _TAIL_S)
    named = tuple(span._replace(label=word) for span, word in zip(speech.words, words, strict=True))
    faded = _faded(speech.samples * _GAIN, speech.sample_rate_hz)
    samples = resample_recording(faded, MODEL_RATE_HZ / speech.sample_rate_hz)
    return Speech(samples, MODEL_RATE_HZ, speech.phones, named)


def with_pauses(text: str) -> str:
    """Commas after letters that another letter follows."""
    words = text.split()
    letters = [len(word) == 1 for word in words] + [False]
    # "i" is a word except beside other letters.
    spelled = [letters[at] and (letters[at + 1] or (at > 0 and letters[at - 1])) for at in range(len(words))]
    return " ".join(word + "," if mark else word for word, mark in zip(words, spelled, strict=True)).rstrip(",")


def _faded(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    faded = samples.copy()
    rising, falling = round(_FADE_IN_S * sample_rate_hz), round(_FADE_OUT_S * sample_rate_hz)
    faded[:rising] *= np.linspace(0, 1, rising, dtype=np.float32)
    faded[-falling:] *= np.linspace(1, 0, falling, dtype=np.float32)
    return faded
