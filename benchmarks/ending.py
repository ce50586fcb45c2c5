"""Programs of a benchmark's own that end with it."""

from __future__ import annotations

import subprocess
from typing import Any


def end(process: subprocess.Popen[Any], timeout_s: float) -> None:
    """Asks a program to end, and kills it when it has not within the time."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
