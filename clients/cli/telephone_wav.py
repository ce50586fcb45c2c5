"""WAV files of G.711, the very bytes that telephones send. The standard library reads linear samples only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moshi_cluster.audio.g711 import G711_RATE_HZ
from moshi_cluster.clients.cli.riff import ALAW, MULAW, read_riff

_ENCODINGS = {ALAW: "alaw", MULAW: "mulaw"}


@dataclass(frozen=True)
class TelephoneRecording:
    """One side of a call, 8000 samples a second."""

    encoding: str  # mulaw or alaw
    data: bytes  # one for every sample

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.data) / G711_RATE_HZ


def read_telephone_wav(path: Path) -> TelephoneRecording:
    """The G.711 of a WAV file. Raises OSError, and ValueError for anything but mono at 8000 Hz."""
    content = read_riff(path)
    if content.encoding not in _ENCODINGS:
        raise ValueError(f"{path}: not a WAV file with G.711")
    if (content.channels, content.rate_hz) != (1, G711_RATE_HZ):
        found = f"{content.channels} channels, {content.rate_hz} Hz"
        raise ValueError(f"{path}: expected mono, {G711_RATE_HZ} Hz, found {found}")
    return TelephoneRecording(_ENCODINGS[content.encoding], content.data)
