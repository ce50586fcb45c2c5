"""Opus packets to and from samples (RFC 6716), without a container, through FFmpeg's libopus.

Importing this module loads FFmpeg's libraries; a gateway does that at start rather than in the middle of other calls.
"""

import av
import av.error
import numpy as np

from moshi_cluster.audio.pcm import MalformedAudio, Samples, from_s16

DECODED_RATE_HZ = 48_000
"""Packets of every bandwidth decode at this rate."""

_BITS_PER_S = {8_000: 16_000, 16_000: 24_000, 24_000: 32_000, 48_000: 32_000}
"""Good speech at each bandwidth; variable, silence takes far less."""

COMPLEXITY = 5
"""Of COMPLEXITY_MAX. The rest costs twice the time and is not heard in speech."""
COMPLEXITY_MAX = 10


class OpusDecoder:
    """Opus packets to samples, one after the other: each depends on those before it."""

    def __init__(self) -> None:
        self._codec = av.AudioCodecContext.create("libopus", "r")
        self._codec.sample_rate = DECODED_RATE_HZ
        self._codec.layout = "mono"

    def decode(self, data: bytes) -> Samples:
        """One packet to its samples at 48 kHz, mono whatever the packet says; nothing for an empty one.

        Raises MalformedAudio for bytes that are no packet; the next packet decodes as if they had not come.
        """
        if not data:
            return np.empty(0, dtype=np.float32)
        try:
            frames = self._codec.decode(av.Packet(data))
        except av.error.FFmpegError as error:
            raise MalformedAudio("not an Opus packet") from error
        return np.concatenate([from_s16(frame.to_ndarray()[0]) for frame in frames])


class OpusEncoder:
    """Samples to Opus packets, one after the other: each depends on those before it."""

    def __init__(
        self, rate_hz: int, packet_ms: int, bits_per_s: int | None = None, complexity: int = COMPLEXITY
    ) -> None:
        """rate_hz: 8000, 16000, 24000 or 48000. packet_ms: 10, 20, 40, 60, 80 or 100. bits_per_s: good speech at that
        rate if absent. complexity: 0 to COMPLEXITY_MAX.
        """
        self._packet_samples = rate_hz * packet_ms // 1000
        self._codec = av.AudioCodecContext.create("libopus", "w")
        self._codec.sample_rate = rate_hz
        self._codec.layout = "mono"
        self._codec.format = "flt"
        self._codec.bit_rate = _BITS_PER_S[rate_hz] if bits_per_s is None else bits_per_s
        self._codec.options = {
            "application": "voip",
            "frame_duration": str(packet_ms),
            "compression_level": str(complexity),
        }
        self._codec.open()

    def encode(self, samples: Samples) -> bytes:
        """One packet's samples, or fewer, which silence completes, to the packet."""
        whole = np.zeros((1, self._packet_samples), dtype=np.float32)
        whole[0, : samples.size] = samples
        frame = av.AudioFrame.from_ndarray(whole, format="flt", layout="mono")
        frame.sample_rate = self._codec.sample_rate
        (packet,) = self._codec.encode(frame)
        return bytes(packet)
