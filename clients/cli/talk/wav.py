"""WAV files that are written while a conversation runs."""

from __future__ import annotations

import contextlib
import sys
import wave
from array import array
from pathlib import Path
from types import TracebackType
from typing import Self

from moshi_cluster.clients.cli.audio import AudioError
from moshi_cluster.clients.cli.talk.line import RATE_HZ, Samples


class WavWriter:
    """16 bit at RATE_HZ. The file is whole after every write, whatever happens next. Raises AudioError.

    A context manager: leaving closes the file.
    """

    def __init__(self, path: Path, channels: int = 1) -> None:
        self._path = path
        self._resources = contextlib.ExitStack()
        try:
            file = self._resources.enter_context(path.open("wb", buffering=0))
        except OSError as error:
            raise AudioError(f"{path}: cannot be written ({error})") from error
        self._wave = self._resources.enter_context(wave.Wave_write(file))
        self._wave.setnchannels(channels)
        self._wave.setsampwidth(2)
        self._wave.setframerate(RATE_HZ)
        self._wave.writeframes(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def write(self, samples: Samples) -> None:
        """Appends samples, those of one instant side by side."""
        if sys.byteorder == "big":
            samples = array("h", samples)
            samples.byteswap()
        try:
            self._wave.writeframes(samples.tobytes())
        except OSError as error:
            raise AudioError(f"{self._path}: cannot be written ({error})") from error


def columns(left: Samples, right: Samples) -> Samples:
    """Two voices of equal length as one stereo recording."""
    both: Samples = array("h", bytes(4 * len(left)))
    both[0::2], both[1::2] = left, right
    return both
