"""Playback buffer of a caller, in simulated time."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Silence:
    """A caller ran out of sound."""

    end_s: float  # when the packet came that should have been played
    length_s: float  # by how much it was late


class SimulatedPlayback:
    """Notes when a caller who plays replies `delay_s` behind their arrival runs out of sound, and for how long.

    The first sample is played `delay_s` after its packet came, and every other one in its place after it. A packet that
    comes after its time is an underrun: the caller heard a gap, and plays on `delay_s` after that packet. Of sound that
    comes in a heap more than `most_s` is not kept, so that the next gap is heard, too.
    """

    def __init__(self, delay_s: float = 0.1, most_s: float = math.inf) -> None:
        self.silences: list[Silence] = []
        self._delay_s = delay_s
        self._most_s = most_s
        self._next_due_s: float | None = None  # when the sample after the last one that came will be played

    @property
    def underruns(self) -> int:
        """How often there was no sound to play."""
        return len(self.silences)

    def arrive(self, now_s: float, length_s: float) -> None:
        """A packet of reply audio has come."""
        if self._next_due_s is None:
            self._next_due_s = now_s + self._delay_s
        elif now_s > self._next_due_s:
            self.silences.append(Silence(now_s, now_s - self._next_due_s))
            self._next_due_s = now_s + self._delay_s
        self._next_due_s = min(self._next_due_s + length_s, now_s + self._most_s)
