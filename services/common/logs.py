"""Logging: one line per event on stderr, never audio, never text of a conversation, never the bytes of a request."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TextIO

from moshi_cluster.services.common.log_limits import AUDIT, EDGE, OWN, RepeatLimits
from moshi_cluster.services.common.log_writer import LogWriter
from moshi_cluster.services.common.session_id import SESSION_ID

_FLUSH_TIMEOUT_S = 2.0
AUDIT_LOGGER = "moshi_cluster.audit"
"""Has a line for each call, by whom and how long."""
_EDGES = ("grpc", "aiohttp", "asyncio")
"""Loggers of libraries that handle what strangers send, and put it into their messages."""
_SILENT_EXCEPTIONS = (*_EDGES, "moshi_cluster.services.gateway.api")
"""Loggers of which an exception's own text, which may quote a request, is not logged; where it was raised is."""

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


@contextmanager
def logging_to_stderr(formatter: OneLineFormatter, level: str, on_dropped: Callable[[str], None]) -> Iterator[None]:
    """Logging of the process for as long as the context lasts.

    Nothing that is logged, or written to sys.stderr, makes its thread wait or fail, whatever has become of stderr.
    on_dropped: called, from any thread, for a line that was dropped, with the reason: `full` (nobody reads), `failed`
    (a full disk, a closed pipe), `repeated` (many of a kind at once).
    """
    terminal = sys.stderr
    writer = LogWriter(_descriptor(terminal), formatter.notice, on_dropped)
    logging.raiseExceptions = False
    logging.basicConfig(level=level.upper(), handlers=[LogHandler(formatter, writer.write, on_dropped)], force=True)
    sys.stderr = StderrWriter(lambda text: writer.write(formatter.printed(text)), terminal)
    try:
        yield
    finally:
        sys.stderr = terminal
        writer.close(_FLUSH_TIMEOUT_S)


class LogHandler(logging.Handler):
    """Formats records, within the limits for those that repeat, and hands the lines on."""

    def __init__(
        self,
        formatter: OneLineFormatter,
        write: Callable[[str], None],
        on_dropped: Callable[[str], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._line = formatter.line
        self._write = write
        self._on_dropped = on_dropped
        self._clock_s = clock_s
        self._limits = RepeatLimits()

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: a line that cannot be made is counted with those that cannot be written."""
        from_edge = _is_of(record, _EDGES)
        site = record.name if from_edge else (record.pathname, record.lineno)
        limit = EDGE if from_edge else AUDIT if record.name == AUDIT_LOGGER else OWN
        held_back = self._limits.take(site, self._clock_s(), limit)
        if held_back is None:
            self._on_dropped("repeated")
            return
        try:
            self._write(f"{self._line(record, held_back)}\n")
        except Exception:
            self._on_dropped("failed")


class OneLineFormatter(logging.Formatter):
    """Time, level, service, logger and message; a traceback is part of the line."""

    def __init__(self, service: str) -> None:
        """service: stands on every line."""
        super().__init__(f"%(asctime)s %(levelname)s {service} %(name)s %(message)s")
        self._service = service

    def line(self, record: logging.LogRecord, held_back: int = 0) -> str:
        """The record's line, with the session that its task works for. held_back: how many more are not shown."""
        text = " | ".join(super().format(shown_only(record)).splitlines())
        session_id = SESSION_ID.get()
        of_session = f" session={session_id}" if session_id and session_id not in text else ""
        return f"{text}{of_session}" + (f" ({held_back} more like it are not shown)" if held_back else "")

    def printed(self, text: str) -> str:
        """What is written of a text that was printed to stderr."""
        return text

    def notice(self, dropped: int) -> str:
        """The line that tells how many were dropped."""
        fields = {"name": __name__, "levelname": "WARNING", "msg": "log lines dropped count=%d", "args": (dropped,)}
        return self.line(logging.makeLogRecord(fields)) + "\n"


def shown_only(record: logging.LogRecord) -> logging.LogRecord:
    """What may be shown of a record: of a library's message what is its own, the first line, unfilled; of an exception
    at the edge where it was raised.
    """
    if _is_of(record, _EDGES):
        record = logging.makeLogRecord({**record.__dict__, "msg": str(record.msg).partition("\n")[0], "args": None})
    if _is_of(record, _SILENT_EXCEPTIONS) and record.exc_info:
        record = logging.makeLogRecord({**record.__dict__, "exc_text": _where(record.exc_info)})
    return record


class StderrWriter(io.TextIOBase):
    """Stands for sys.stderr: what is printed there, tracebacks of threads included, waits in the log's queue."""

    encoding = "utf-8"

    def __init__(self, write: Callable[[str], None], terminal: TextIO | None) -> None:
        self._write = write
        self._terminal = terminal

    def write(self, text: str) -> int:
        """Takes a text; never waits."""
        if text:
            self._write(text)
        return len(text)

    def isatty(self) -> bool:
        """Whether somebody watches."""
        return self._terminal is not None and self._terminal.isatty()

    def fileno(self) -> int:
        """The descriptor behind it. Raises OSError when there is none."""
        if self._terminal is None:
            raise OSError("no stderr")
        return self._terminal.fileno()


def _descriptor(terminal: TextIO | None) -> int:
    """A descriptor of our own, so that nobody closes it; -1, which refuses every write, when stderr was closed."""
    try:
        return os.dup(terminal.fileno()) if terminal is not None else -1
    except OSError:
        return -1


def _is_of(record: logging.LogRecord, names: tuple[str, ...]) -> bool:
    return any(record.name == name or record.name.startswith(f"{name}.") for name in names)


def _where(exception: _ExceptionInfo) -> str:
    """The kind of an exception and the way to where it was raised, innermost last."""
    kind, _, trace = exception
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
    return f"{kind.__name__ if kind else 'exception'} at {', '.join(frames)}"
