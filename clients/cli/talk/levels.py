"""Loudness of a voice, and the meter that shows it."""

from __future__ import annotations

import math
from operator import mul

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.clients.telephony.wire_formats import S16Samples

FLOOR_DB = -60.0
_FALL_DB_PER_S = 30.0
_FULL_SCALE = 32_768


class LevelMeter:
    """A level meter: rises at once, falls slowly, as people expect. Time is that of the samples."""

    def __init__(self) -> None:
        self.level_db = FLOOR_DB  # of full scale, FLOOR_DB to 0

    def push(self, samples: S16Samples) -> None:
        """Takes what was said or played."""
        if samples:
            fallen_db = self.level_db - _FALL_DB_PER_S * len(samples) / MODEL_RATE_HZ
            self.level_db = max(FLOOR_DB, fallen_db, rms_db(samples))

    @property
    def fraction(self) -> float:
        """The level as a share of the meter: 0 at the floor, 1 at full scale."""
        return 1 - self.level_db / FLOOR_DB


def rms_db(samples: S16Samples) -> float:
    """Level of samples relative to full scale, never below FLOOR_DB; a full-scale square wave has 0."""
    power = sum(map(mul, samples, samples)) / (len(samples) * _FULL_SCALE**2) if samples else 0.0
    return max(FLOOR_DB, 10 * math.log10(power)) if power else FLOOR_DB
