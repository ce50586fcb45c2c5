"""Recordings of one voice, and the WAV files that hold them."""

from __future__ import annotations

import wave
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from moshi_cluster.clients.cli.errors import BadInput

S16Samples: TypeAlias = "array[int]"
"""16 bit, mono."""
DEMO_UTTERANCE = Path(__file__).with_name("demo_utterance.wav")
"""A question to the demo model."""


@dataclass(frozen=True)
class Recording:
    """One voice from beginning to end."""

    samples: S16Samples
    rate_hz: int

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.rate_hz


def read_wav(path: Path) -> Recording:
    """A mono WAV file of 16-bit samples. Raises BadInput."""
    try:
        with wave.open(str(path), "rb") as file:
            if file.getnchannels() != 1 or file.getsampwidth() != 2:
                raise BadInput(
                    f"{path}: expected mono 16-bit samples, found {file.getnchannels()} channels of "
                    f"{8 * file.getsampwidth()} bit"
                )
            return Recording(array("h", file.readframes(file.getnframes())), file.getframerate())
    except (OSError, EOFError, wave.Error) as error:
        raise BadInput(f"{path}: not a readable WAV file ({error})") from error


def write_wav(path: Path, recording: Recording) -> None:
    """Writes a mono WAV file of 16-bit samples. Raises BadInput."""
    try:
        with path.open("wb") as target, wave.open(target, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(recording.rate_hz)
            file.writeframes(recording.samples.tobytes())
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error})") from error
