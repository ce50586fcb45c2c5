"""WAV files that grow while a conversation runs."""

from __future__ import annotations

import contextlib
import wave
from array import array
from pathlib import Path
from types import TracebackType
from typing import Self

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.clients.telephony.errors import BadInput
from moshi_cluster.clients.telephony.wire_formats import S16Samples


class WavWriter:
    """A WAV file, 16 bit at 24 kHz, that is whole after every write, whatever happens next. Raises BadInput.

    A context manager: leaving closes the file.
    """

    def __init__(self, path: Path, channels: int = 1) -> None:
        self._path = path
        self._resources = contextlib.ExitStack()
        try:
            file = self._resources.enter_context(path.open("wb", buffering=0))
        except OSError as error:
            raise BadInput(f"{path}: cannot be written ({error})") from error
        self._wave = self._resources.enter_context(wave.Wave_write(file))
        self._wave.setnchannels(channels)
        self._wave.setsampwidth(2)
        self._wave.setframerate(MODEL_RATE_HZ)
        self._wave.writeframes(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def write(self, samples: S16Samples) -> None:
        """Appends samples; with several channels those of one instant lie side by side."""
        try:
            self._wave.writeframes(samples.tobytes())
        except OSError as error:
            raise BadInput(f"{self._path}: cannot be written ({error})") from error


def columns(left: S16Samples, right: S16Samples) -> S16Samples:
    """Two voices of equal length as one stereo recording."""
    both: S16Samples = array("h", bytes(4 * len(left)))
    both[0::2], both[1::2] = left, right
    return both
