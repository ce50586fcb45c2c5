"""ITU-T G.722 at 64 kbit/s, wideband speech in one byte for two samples, through FFmpeg's codec.

Importing this module loads FFmpeg's libraries, as Opus does. Both directions are adaptive: a byte means something only
behind those before it, so a stream has a decoder and an encoder of its own, from its first byte to its last. Bytes that
were lost are heard as a crackle until the predictors agree again, some ten milliseconds later.
"""

import av
import numpy as np

from moshi_cluster.audio.pcm import Samples, from_s16, to_s16

G722_RATE_HZ = 16_000
"""What it samples at. RTP's clock for it says 8000, by a mistake that RFC 3551 (4.5.2) keeps."""

BYTE_SAMPLES = 2


class G722Decoder:
    """G.722 bytes to samples, one packet after the other, of any lengths."""

    def __init__(self) -> None:
        self._codec = av.AudioCodecContext.create("g722", "r")
        self._codec.sample_rate = G722_RATE_HZ
        self._codec.layout = "mono"

    def decode(self, data: bytes) -> Samples:
        """Two samples at 16 kHz for every byte. There is no wrong byte."""
        if not data:  # to FFmpeg the end of the stream
            return np.empty(0, dtype=np.float32)
        frames = self._codec.decode(av.Packet(data))
        return np.concatenate([from_s16(frame.to_ndarray()[0]) for frame in frames])


class G722Encoder:
    """Samples to G.722 bytes, one packet after the other."""

    def __init__(self, block_samples: int) -> None:
        """block_samples: an even number that divides every packet but the last; the larger, the less work."""
        self._block_samples = block_samples
        self._codec = av.AudioCodecContext.create("g722", "w")
        self._codec.sample_rate = G722_RATE_HZ
        self._codec.layout = "mono"
        self._codec.format = "s16"
        self._codec.options = {"frame_size": str(block_samples)}
        self._codec.open()

    def encode(self, samples: Samples) -> bytes:
        """Samples at 16 kHz to half as many bytes, clipped to full scale.

        What is no whole number of blocks ends the stream. An odd sample, at its end, is left out.
        """
        linear = to_s16(samples[: samples.size - samples.size % BYTE_SAMPLES])[None]
        if not linear.size:
            return b""
        frame = av.AudioFrame.from_ndarray(linear, format="s16", layout="mono")
        frame.sample_rate = G722_RATE_HZ
        packets = self._codec.encode(frame)  # as many as there are whole blocks: it keeps the rest
        if linear.size % self._block_samples:
            packets += self._codec.encode(None)
        return b"".join(map(bytes, packets))
