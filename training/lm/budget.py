"""Training budget: how much of the time is used."""

from __future__ import annotations

import time

import torch


class Budget:
    """Computing time of this process divided by its threads: time in which the process is stopped or waits for a
    processor costs nothing."""

    def __init__(self, used_s: float = 0.0) -> None:
        self._before_s = used_s
        self._start_s = _computed_s()

    @property
    def used_s(self) -> float:
        return self._before_s + _computed_s() - self._start_s

    def leave_out(self, seconds: float) -> None:
        """For work that is not training."""
        self._before_s -= seconds


def _computed_s() -> float:
    return time.process_time() / torch.get_num_threads()
