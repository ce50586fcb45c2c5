"""Opus as phones send it: raw packets, no container, one stream of state per direction. Through FFmpeg's libopus.

Importing this module loads FFmpeg's libraries; a gateway does that at start rather than in the middle of other calls.
"""

import av
import av.error
import numpy as np

from moshi_cluster.audio.pcm import Samples, from_s16
from moshi_cluster.services.common.errors import InvalidInput

DECODED_RATE_HZ = 48_000
"""Packets of every bandwidth decode at this rate."""

_BITS_PER_S = {8_000: 16_000, 16_000: 24_000, 24_000: 32_000, 48_000: 32_000}
"""Good speech at each bandwidth; variable, silence takes far less."""

_COMPLEXITY = "5"
"""Of 10. The rest costs twice the time and is not heard in speech."""


class OpusDecoder:
    """One call's packets to samples."""

    def __init__(self) -> None:
        self._codec = av.AudioCodecContext.create("libopus", "r")
        self._codec.sample_rate = DECODED_RATE_HZ
        self._codec.layout = "mono"

    def decode(self, data: bytes) -> Samples:
        """One packet to its samples at 48 kHz, mono whatever the packet says; nothing for an empty one.

        Raises InvalidInput for bytes that are no packet; the next packet decodes as if they had not come.
        """
        if not data:
            return np.empty(0, dtype=np.float32)
        try:
            frames = self._codec.decode(av.Packet(data))
        except av.error.FFmpegError as error:
            raise InvalidInput("audio.data", f"not an Opus packet ({len(data)} bytes)") from error
        return np.concatenate([from_s16(frame.to_ndarray()[0]) for frame in frames])


class OpusEncoder:
    """Samples to one call's packets."""

    def __init__(self, rate_hz: int, packet_ms: int) -> None:
        self._packet_samples = rate_hz * packet_ms // 1000
        self._codec = av.AudioCodecContext.create("libopus", "w")
        self._codec.sample_rate = rate_hz
        self._codec.layout = "mono"
        self._codec.format = "flt"
        self._codec.bit_rate = _BITS_PER_S[rate_hz]
        self._codec.options = {
            "application": "voip",
            "frame_duration": str(packet_ms),
            "compression_level": _COMPLEXITY,
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
