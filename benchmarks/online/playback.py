"""Playback buffer of a caller, in simulated time."""

from __future__ import annotations


class SimulatedPlayback:
    """Counts how often a caller who plays replies `delay_s` behind their arrival runs out of sound.

    The first sample is played `delay_s` after its packet came, and every other one in its place after it. A packet that
    comes after its time is an underrun: the caller heard a gap, and plays on `delay_s` after that packet.
    """

    def __init__(self, delay_s: float = 0.1) -> None:
        self.underruns = 0
        self._delay_s = delay_s
        self._next_due_s: float | None = None  # when the sample after the last one that came will be played

    def arrive(self, now_s: float, length_s: float) -> None:
        """A packet of reply audio has come."""
        if self._next_due_s is None or now_s > self._next_due_s:
            self.underruns += self._next_due_s is not None
            self._next_due_s = now_s + self._delay_s
        self._next_due_s += length_s
