"""Callers that talk somewhere, followed by what their program prints."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Sequence
from queue import Empty, Queue
from types import TracebackType
from typing import Any, Self

from benchmarks.cluster_check.callers import Talk
from benchmarks.cluster_check.errors import CheckFailed

START_TIMEOUT_S = 120.0
_END_PATIENCE_S = 180.0
_LEAVE_S = 10.0


class FollowedCallers:
    """A run of `benchmarks.cluster_check.callers`, wherever it runs; a context manager, whose end ends the program."""

    def __init__(self, program: Sequence[str], seconds: float, ready: Callable[[], object] = lambda: None) -> None:
        """program: prints what the callers print. seconds: of a long call. ready: returns when it can be started."""
        self._program, self._seconds, self._ready = program, seconds, ready
        self._lines: Queue[str | None] = Queue()  # None: the program has ended, or could not be started
        self._why = "the callers' program has ended"
        self._process: subprocess.Popen[str] | None = None
        self._leaving = False
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving = True
        if self._process is not None:
            self._process.kill()
        self._thread.join(_LEAVE_S)

    def wait_until_up(self, calls: int) -> None:
        """Returns once so many long calls are up. Raises CheckFailed where fewer began."""
        if (up := int(self._next("up", 2 * START_TIMEOUT_S))) < calls:
            raise CheckFailed(f"{calls - up} calls did not begin before anything happened")

    def talks(self) -> list[Talk]:
        """What became of everybody, when it is over. Raises CheckFailed."""
        return [Talk(**each) for each in self._next("talks", self._seconds + _END_PATIENCE_S)]

    def _next(self, key: str, timeout_s: float) -> Any:
        try:
            line = self._lines.get(timeout=timeout_s)
        except Empty:
            raise CheckFailed(f"the callers said nothing of {key!r} within {timeout_s:g} s") from None
        if line is None:
            raise CheckFailed(f"the callers said nothing of {key!r}: {self._why}")
        try:
            return json.loads(line)[key]
        except (ValueError, KeyError):
            raise CheckFailed(f"the callers were to say {key!r}: {line}") from None

    def _follow(self) -> None:
        try:
            self._ready()
            with subprocess.Popen(self._program, stdout=subprocess.PIPE, text=True) as self._process:
                assert self._process.stdout is not None
                if self._leaving:
                    self._process.kill()
                for line in self._process.stdout:
                    self._lines.put(line)
        except (CheckFailed, OSError) as error:
            self._why = str(error)
        finally:
            self._lines.put(None)
