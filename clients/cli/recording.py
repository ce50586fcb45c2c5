"""Recordings of one voice, and the WAV files that hold them."""

from __future__ import annotations

import sys
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path

from moshi_cluster.clients.cli.riff import PCM, read_riff
from moshi_cluster.clients.telephony.errors import BadInput
from moshi_cluster.clients.telephony.wire_formats import S16Samples

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
    """The voice of a mono WAV file of 16-bit samples; of one that was cut short, what is there. Raises BadInput."""
    try:
        content = read_riff(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise BadInput(str(error)) from error
    if (content.encoding, content.channels, content.bits) != (PCM, 1, 16):
        found = f"{content.channels} channels of {content.bits} bit, encoding {content.encoding}"
        raise BadInput(f"{path}: expected mono 16-bit linear samples, found {found}")
    samples = array("h", content.data)
    if sys.byteorder == "big":
        samples.byteswap()
    return Recording(samples, content.rate_hz)


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
