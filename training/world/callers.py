"""Callers: a voice of one of two synthesisers with a pitch, a pace and a size of its own for a whole call."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import numpy as np

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.pcm import Samples
from moshi_cluster.audio.spectral_resample import resample_recording
from training.world.espeak import espeak
from training.world.flite import flite_voice
from training.world.holdout import Split, held_out
from training.world.speech import Speech

# Accents and variants that a recogniser for American English understands, more or less; several others are a riddle.
_ACCENTS = ("en-us", "en-us", "en-us", "en-us", "en", "en-us-nyc", "en-gb-x-rp")
_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5", "adam", "Alex", "edward")
_FLITE_PITCH_HZ = {"kal": 105.0, "kal16": 105.0, "awb": 115.0, "rms": 105.0}
_FLITE_SHARE = 0.45
LEVEL = 0.1  # RMS of every utterance: -20 dBFS
_MARGIN_S = 0.03  # of what sounds before the first and after the last phone


@dataclass(frozen=True)
class CallerVoice:
    """`pitch` and `pace` from 0 to 1 within the voice's range; `size` is the factor of a longer or shorter throat."""

    synthesiser: str
    voice: str
    pitch: float
    pace: float
    size: float

    @property
    def cell(self) -> str:
        """The third of the pitches and of the paces that this voice is in."""
        return f"{self.voice} {min(int(3 * self.pitch), 2)} {min(int(3 * self.pace), 2)}"

    def settings(self) -> dict[str, Any]:
        return asdict(self)

    def say(self, text: str) -> Speech:
        """An utterance at 24 kHz, from just before its first phone to just after its last one."""
        spoken = self._flite(text) if self.synthesiser == "flite" else self._espeak(text)
        start_s, end_s = spoken.voiced
        speech = spoken.cut(max(start_s - _MARGIN_S, 0.0), end_s + _MARGIN_S)
        factor = MODEL_RATE_HZ / speech.sample_rate_hz * self.size
        samples = resample_recording(speech.samples, factor)
        return speech.stretched(samples * (LEVEL / _rms(samples)), MODEL_RATE_HZ, self.size)

    def _espeak(self, text: str) -> Speech:
        return espeak().speak(text, self.voice, round(25 + 50 * self.pitch), round(125 + 60 * self.pace))

    def _flite(self, text: str) -> Speech:
        pitch_hz = _FLITE_PITCH_HZ[self.voice] * (0.8 + 0.5 * self.pitch)
        return flite_voice(self.voice).speak(text, 1.25 - 0.4 * self.pace, pitch_hz)


def caller_voice(random: Random, split: Split) -> CallerVoice:
    """One in five cells of voice, pitch and pace is for the evaluation, which has no others."""
    while True:
        found = _anyone(random)
        if held_out("voice", found.cell, one_in=5) == (split == "eval"):
            return found


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(samples**2)))


def _anyone(random: Random) -> CallerVoice:
    if random.random() < _FLITE_SHARE:
        synthesiser, voice = "flite", random.choice(tuple(_FLITE_PITCH_HZ))
    else:
        synthesiser, voice = "espeak-ng", f"{random.choice(_ACCENTS)}+{random.choice(_VARIANTS)}"
    return CallerVoice(synthesiser, voice, random.random(), random.random(), random.uniform(0.92, 1.08))
