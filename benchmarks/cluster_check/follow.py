"""Callers that talk somewhere, followed by what their program prints."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Sequence
from queue import Empty, Queue
from typing import Any

from benchmarks.cluster_check.callers import Talk
from benchmarks.cluster_check.errors import CheckFailed

START_TIMEOUT_S = 120.0
_END_PATIENCE_S = 180.0


class FollowedCallers:
    """A run of `benchmarks.cluster_check.callers`, wherever it runs."""

    def __init__(self, program: Sequence[str], seconds: float, ready: Callable[[], object] = lambda: None) -> None:
        """program: prints what the callers print. seconds: of a long call. ready: returns when it can be started."""
        self._program, self._seconds, self._ready = program, seconds, ready
        self._lines: Queue[str] = Queue()
        self._process: subprocess.Popen[str] | None = None
        threading.Thread(target=self._follow, daemon=True).start()

    def wait_until_up(self) -> int:
        """How many of the long calls are up."""
        return int(self._next("up", START_TIMEOUT_S))

    def talks(self) -> list[Talk]:
        """What became of everybody, when it is over."""
        return [Talk(**each) for each in self._next("talks", self._seconds + _END_PATIENCE_S)]

    def leave(self) -> None:
        """Ends the program, whoever talks."""
        if self._process is not None:
            self._process.kill()

    def _next(self, key: str, timeout_s: float) -> Any:
        try:
            line = self._lines.get(timeout=timeout_s)
        except Empty:
            raise CheckFailed(f"the callers said nothing of {key!r} within {timeout_s:g} s") from None
        try:
            return json.loads(line)[key]
        except (ValueError, KeyError):
            raise CheckFailed(f"the callers were to say {key!r}: {line}") from None

    def _follow(self) -> None:
        self._ready()
        with subprocess.Popen(self._program, stdout=subprocess.PIPE, text=True) as self._process:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                self._lines.put(line)
