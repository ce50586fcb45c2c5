"""What files say, read anew when they have changed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from moshi_cluster.services.common.settings import SettingError

T = TypeVar("T")

_log = logging.getLogger(__name__)
_LOOK_INTERVAL_S = 1.0


class Reloaded(Generic[T]):
    """The value that files stand for. Looked at when it is asked for, once a second at most, from any thread.

    Files that cannot be used any more are told of, and the value stays what it was.
    """

    def __init__(
        self, paths: Sequence[Path], read: Callable[[], T], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """read: raises SettingError for files that are no good; so does this."""
        self._paths = paths
        self._read = read
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._looked_s = clock_s()
        self._seen = self._signature()
        self._value = read()

    def get(self) -> T:
        """The value now."""
        with self._lock:
            if self._clock_s() - self._looked_s >= _LOOK_INTERVAL_S:
                self._look()
            return self._value

    def _look(self) -> None:
        self._looked_s = self._clock_s()
        if (signature := self._signature()) == self._seen:
            return
        self._seen = signature
        try:
            self._value = self._read()
            _log.info("read anew: %s", ", ".join(map(str, self._paths)))
        except SettingError as error:
            _log.error("what was read before stays: %s", error)

    def _signature(self) -> list[tuple[int, int, int] | None]:
        return [_signature(path) for path in self._paths]


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Changes with the file's content, also where a link leads to another file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
