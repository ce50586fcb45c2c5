"""Log writer: a thread that writes lines, so that whoever logs never waits for a disk, a pipe or a terminal."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
import time
from collections.abc import Callable

_MOST_LINES = 10_000  # about 2 MB
_MOST_LINE_CHARACTERS = 16_384


class LogWriter:
    """Writes text to a descriptor in a thread of its own, from a queue of at most `most_lines` texts.

    A text that finds the queue full is dropped, and so is one that the descriptor refuses (full disk, closed pipe).
    Both are counted, and the next text that can be written has a notice of them before it. `write` never raises.
    """

    def __init__(
        self,
        descriptor: int,
        notice: Callable[[int], str],
        on_dropped: Callable[[str], None],
        most_lines: int = _MOST_LINES,
    ) -> None:
        """descriptor: closed at the end. notice: the line that says how many were dropped. on_dropped: told, from any
        thread, why each was: `full` or `failed`.
        """
        self._descriptor = descriptor
        self._notice = notice
        self._on_dropped = on_dropped
        self._waiting: queue.Queue[str | None] = queue.Queue(most_lines)
        self._lock = threading.Lock()
        self._untold = 0  # dropped, and the notice not written
        # A daemon: the process may end while a write stands still.
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Takes a text, line end included, to be written as soon as possible; never waits."""
        try:
            self._waiting.put_nowait(text[:_MOST_LINE_CHARACTERS])
        except queue.Full:
            self._drop("full")

    def close(self, timeout_s: float) -> None:
        """Writes what waits, as far as that can be done in time."""
        deadline_s = time.monotonic() + timeout_s
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=timeout_s)
        self._thread.join(max(0.0, deadline_s - time.monotonic()))

    def _run(self) -> None:
        while (text := self._waiting.get()) is not None:
            self._put(text)
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _put(self, text: str) -> None:
        untold = self._untold
        try:
            _write_all(self._descriptor, ((self._notice(untold) if untold else "") + text).encode(errors="replace"))
        except OSError:
            self._drop("failed")
        else:
            with self._lock:
                self._untold -= untold

    def _drop(self, why: str) -> None:
        with self._lock:
            self._untold += 1
        self._on_dropped(why)


def _write_all(descriptor: int, data: bytes) -> None:
    """Past Python's buffered streams: a thread that stands still in one of those keeps the interpreter from ending."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # somebody else who has the same terminal or pipe made it non-blocking
            wanted = select.poll()
            wanted.register(descriptor, select.POLLOUT)
            wanted.poll()
