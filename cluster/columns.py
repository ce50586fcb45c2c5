"""Columns of text on a terminal, one per conversation; a new row for whatever is said next."""

from __future__ import annotations

import shutil
import textwrap
import time
from typing import TextIO

_TIME_WIDTH = 8
_LEAST_WIDTH, _MOST_WIDTH = 18, 34
_GAP = 2
_BOLD, _NORMAL = "\x1b[1m", "\x1b[0m"


class Columns:
    """Writes as things happen, and nothing that is written changes: good for terminals and for files."""

    def __init__(self, conversations: int, out: TextIO) -> None:
        room = shutil.get_terminal_size((120, 40)).columns - _TIME_WIDTH
        self._width = min(_MOST_WIDTH, max(_LEAST_WIDTH, room // conversations))
        self._conversations = conversations
        self._out = out
        self._bold = out.isatty()
        self._begin_s = time.monotonic()

    def headings(self) -> None:
        """The columns' names; times count from here."""
        self._begin_s = time.monotonic()
        cells = [f"caller {number + 1}".ljust(self._width) for number in range(self._conversations)]
        self._out.write(f"{'':{_TIME_WIDTH}}{''.join(cells)}".rstrip() + "\n")
        self._out.flush()

    def caller(self, conversation: int, text: str) -> None:
        """The caller has said something."""
        self._write(conversation, text, "  ", bold=False)

    def moshi(self, conversation: int, text: str) -> None:
        """Moshi has."""
        self._write(conversation, text, "> ", bold=self._bold)

    def _write(self, conversation: int, text: str, mark: str, bold: bool) -> None:
        lines = textwrap.wrap(text, self._width - len(mark) - _GAP) or [""]
        at_s = time.monotonic() - self._begin_s
        before = " " * (_TIME_WIDTH + conversation * self._width)
        for number, line in enumerate(lines):
            left = f"{at_s:5.1f} s".ljust(_TIME_WIDTH) + before[_TIME_WIDTH:] if number == 0 else before
            said = f"{_BOLD}{line}{_NORMAL}" if bold else line
            self._out.write(f"{left}{mark if number == 0 else ' ' * len(mark)}{said}\n")
        self._out.flush()
