"""Progress line on stderr while a file is loaded."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_BYTES_PER_MB = 1_000_000
_PERIOD_S = 0.5
_PERIOD_PLAIN_S = 5.0


class LoadingProgress:
    """Context manager around the loading of one file. On a terminal the line is redrawn in place."""

    def __init__(self, what: str, path: Path) -> None:
        self._label = f"loading {what} from {path.name}"
        self._total_bytes = path.stat().st_size
        self._read_bytes = 0
        self._in_place = sys.stderr.isatty()
        self._period_s = _PERIOD_S if self._in_place else _PERIOD_PLAIN_S

    def __enter__(self) -> Self:
        self._start_s = self._shown_s = time.monotonic()
        return self

    def advance(self, read_bytes: int) -> None:
        """Counts bytes that have been read."""
        self._read_bytes += read_bytes
        now_s = time.monotonic()
        if now_s - self._shown_s >= self._period_s:
            self._shown_s = now_s
            self._show("", "" if self._in_place else "\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show(f", {'done' if kind is None else 'failed'} after {time.monotonic() - self._start_s:.1f} s", "\n")

    def _show(self, tail: str, end: str) -> None:
        read_mb, total_mb = self._read_bytes / _BYTES_PER_MB, self._total_bytes / _BYTES_PER_MB
        start = "\r" if self._in_place else ""
        sys.stderr.write(f"{start}{self._label}: {read_mb:.0f} of {total_mb:.0f} MB{tail}{end}")
        sys.stderr.flush()
