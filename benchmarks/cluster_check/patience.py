"""Waits that end."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.cluster_check.errors import CheckFailed


def until(holds: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Seconds that it took. Raises CheckFailed."""
    begin_s = time.monotonic()
    while not holds():
        if time.monotonic() > begin_s + timeout_s:
            raise CheckFailed(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.5)
    return time.monotonic() - begin_s
