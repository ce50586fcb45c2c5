"""Recordings of synthesised callers, any number of them."""

from __future__ import annotations

import ctypes.util
import sys
from collections.abc import Iterator
from pathlib import Path

from moshi_cluster.cluster.recorded_callers import INDEX, RecordedCaller, read
from training.world.export_questions import enough, export
from training.world.session import SoundSession, generate

_ROOT = Path(__file__).resolve().parent.parent.parent
_MADE = _ROOT / ".cache" / "exchanges"
_FIRST_SEED = 1_000_000  # the calls of `python -m training.world --split eval`
_LIBRARIES = {"espeak-ng": "espeak-ng", "flite": "flite"}  # package -> library
_REPORT_EVERY = 25


class NoSynthesiserError(Exception):
    """Calls cannot be made up on this machine; the message says what is missing."""


def made(exchanges: int) -> list[RecordedCaller]:
    """At least so many exchanges that training never saw, the same ones every time; kept for the next time.

    Raises NoSynthesiserError.
    """
    folder = _MADE / str(exchanges)
    if not (folder / INDEX).is_file():  # written last
        missing = [package for package, library in _LIBRARIES.items() if ctypes.util.find_library(library) is None]
        if missing:
            raise NoSynthesiserError(
                f"making up calls needs {' and '.join(missing)} (Debian, Ubuntu: apt-get install espeak-ng flite); "
                "--recorded takes the recorded calls of the repository, which need neither"
            )
        export(_with_progress(enough(_sessions(), exchanges)), folder)
    return read(folder)


def _sessions() -> Iterator[SoundSession]:
    number = _FIRST_SEED
    while True:
        yield generate(number, "eval")
        number += 1


def _with_progress(sessions: Iterator[SoundSession]) -> Iterator[SoundSession]:
    for count, session in enumerate(sessions, start=1):
        if count % _REPORT_EVERY == 0:
            print(f"{count} calls made up", file=sys.stderr)
        yield session
