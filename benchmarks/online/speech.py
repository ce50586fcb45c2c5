"""Speech of simulated callers as messages ready for the wire: whatever can be done before the run is done here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moshi_cluster.audio.frame import FRAME_MS
from moshi_cluster.audio.spectral_resample import resample_loop
from moshi_cluster.clients.cli.recording import Recording, read_wav
from moshi_cluster.clients.telephony.wire_formats import ENCODINGS, S16Samples, packets, to_float, to_s16
from moshi_cluster.v1 import gateway_pb2


@dataclass(frozen=True)
class LineFormat:
    """How audio travels in both directions."""

    encoding: str  # one of clients.telephony.wire_formats.ENCODINGS
    rate_hz: int
    packet_ms: int  # of the caller's packets
    reply_packet_ms: int

    @property
    def packet_samples(self) -> int:
        """Samples in one of the caller's packets."""
        return self.rate_hz * self.packet_ms // 1000

    @property
    def frame_samples(self) -> int:
        """Samples in one model frame."""
        return self.rate_hz * FRAME_MS // 1000

    def packets_of(self, frames: int) -> int:
        """Packets that hold `frames` frames; the last may reach beyond them."""
        return -(-frames * FRAME_MS // self.packet_ms)

    def message(self) -> gateway_pb2.AudioFormat:
        """The format as the contract spells it."""
        return gateway_pb2.AudioFormat(encoding=ENCODINGS[self.encoding], sample_rate_hz=self.rate_hz)


def speech_messages(path: Path, line: LineFormat) -> list[bytes]:
    """A recording, to be looped, as serialised requests of one packet each. Raises BadInput."""
    samples = looped(read_wav(path), line.rate_hz, line.packet_samples)
    return [
        gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=packet)).SerializeToString()
        for packet in packets(samples, line.encoding, line.packet_samples)
    ]


def looped(recording: Recording, rate_hz: int, multiple: int) -> S16Samples:
    """The recording at another rate, cut to a multiple of samples so that it repeats without a seam in the packets.

    A loop is periodic, so the change of rate by Fourier coefficients is exact.
    """
    count = len(recording.samples) * rate_hz // recording.rate_hz
    sound = resample_loop(to_float(recording.samples), count)
    return to_s16(np.resize(sound, max(multiple, count - count % multiple)))


def first_packet(caller: int, callers: int, packets: int) -> int:
    """Where in the loop a caller begins: spread evenly, so that no two say the same at once."""
    return packets * (caller % callers) // callers


def choose(loops: Sequence[list[bytes]], caller: int) -> list[bytes]:
    """Callers take the recordings in turn."""
    return loops[caller % len(loops)]
