"""Opus and other sample rates, through PyAV's FFmpeg. Imported only where they are needed."""

from __future__ import annotations

from array import array

import av
import av.error

from moshi_cluster.clients.cli.talk.line import RATE_HZ, Samples

PACKET_SAMPLES = 480  # 20 ms
_DECODED_RATE_HZ = 48_000  # packets of every bandwidth decode at this rate
_BITS_PER_S = 32_000


class OpusEncoder:
    """Samples of any number to packets of 20 ms."""

    def __init__(self) -> None:
        self._waiting: Samples = array("h")
        self._codec = av.AudioCodecContext.create("libopus", "w")
        self._codec.sample_rate = RATE_HZ
        self._codec.layout = "mono"
        self._codec.format = "s16"
        self._codec.bit_rate = _BITS_PER_S
        self._codec.options = {"application": "voip", "frame_duration": "20"}
        self._codec.open()

    def encode(self, samples: Samples) -> list[bytes]:
        """The packets that these samples complete."""
        self._waiting.extend(samples)
        packets = []
        while len(self._waiting) >= PACKET_SAMPLES:
            packets += [bytes(packet) for packet in self._codec.encode(_frame(self._waiting[:PACKET_SAMPLES], RATE_HZ))]
            del self._waiting[:PACKET_SAMPLES]
        return packets


class OpusDecoder:
    """Packets to samples."""

    def __init__(self) -> None:
        self.packet_samples = 0  # of all packets so far; the resampler holds a few back
        self._codec = av.AudioCodecContext.create("libopus", "r")
        self._codec.sample_rate = _DECODED_RATE_HZ
        self._codec.layout = "mono"
        self._resampler = Resampler(_DECODED_RATE_HZ)

    def decode(self, packet: bytes) -> Samples:
        """What this packet lets be heard; nothing for bytes that are no packet."""
        try:
            frames = self._codec.decode(av.Packet(packet))
        except av.error.FFmpegError:
            return array("h")
        samples: Samples = array("h")
        for frame in frames:
            self.packet_samples += frame.samples * RATE_HZ // _DECODED_RATE_HZ
            samples.extend(self._resampler.resample(frame))
        return samples


class Resampler:
    """Samples at another rate to RATE_HZ."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)

    def resample(self, frame: av.AudioFrame | None) -> Samples:
        """What this frame completes; None: what is left at the end."""
        samples: Samples = array("h")
        for made in self._resampler.resample(frame):
            samples.frombytes(bytes(made.planes[0])[: 2 * made.samples])
        return samples

    def whole(self, samples: Samples) -> Samples:
        """A whole recording."""
        return self.resample(_frame(samples, self._rate_hz)) + self.resample(None)


def _frame(samples: Samples, rate_hz: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples))
    frame.sample_rate = rate_hz
    plane = frame.planes[0]
    plane.update(samples.tobytes().ljust(plane.buffer_size, b"\0"))
    return frame
