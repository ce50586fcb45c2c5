"""Makes the machine seem to have booted at another time, in every Python process that a test starts.

Python imports this module by its name when it starts with this folder on its path; `begin_at` puts it there.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_VARIABLE = "TEST_UPTIME_SHIFT_S"


def begin_at(uptime_s: float) -> None:
    """From now on `time.monotonic` counts from there, in this process and in those that it starts."""
    os.environ[_VARIABLE] = str(uptime_s - time.monotonic())
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    _shift()


def _shift() -> None:
    """The loop of asyncio follows; uvloop asks the system itself."""
    shift_s, unshifted = float(os.environ[_VARIABLE]), time.monotonic
    time.monotonic = lambda: unshifted() + shift_s


if __name__ == "sitecustomize" and _VARIABLE in os.environ:
    _shift()
