"""A voice as Ogg Opus, as /api/chat carries it. Needs PyAV: imported only where it is needed."""

from __future__ import annotations

from array import array

import numpy as np

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.ogg import OpusStreamReader, OpusStreamWriter
from moshi_cluster.audio.opus import DECODED_RATE_HZ, OpusDecoder, OpusEncoder
from moshi_cluster.audio.pcm import MalformedAudio, Samples
from moshi_cluster.audio.resample import Resampler
from moshi_cluster.clients.telephony.wire_formats import S16Samples, to_float, to_s16

_PACKET_MS = 20
PACKET_SAMPLES = MODEL_RATE_HZ * _PACKET_MS // 1000


class OggOpusEncoder:
    """Samples at 24 kHz, any number at a time, to Ogg pages of one Opus packet of 20 ms each."""

    def __init__(self) -> None:
        self._waiting: S16Samples = array("h")
        self._encoder = OpusEncoder(MODEL_RATE_HZ, _PACKET_MS)
        self._writer = OpusStreamWriter()

    def encode(self, samples: S16Samples) -> list[bytes]:
        """The packets that these samples complete, with their pages; before the first one the stream's headers."""
        self._waiting.extend(samples)
        pages = []
        while len(self._waiting) >= PACKET_SAMPLES:
            packet = self._encoder.encode(to_float(self._waiting[:PACKET_SAMPLES]))
            pages.append(self._writer.write(packet, PACKET_SAMPLES, MODEL_RATE_HZ))
            del self._waiting[:PACKET_SAMPLES]
        return pages


class OggOpusDecoder:
    """A stream of Ogg Opus cut anywhere to samples at 24 kHz."""

    def __init__(self) -> None:
        self.samples = 0
        """Decoded so far."""
        self._reader = OpusStreamReader()
        self._decoder = OpusDecoder()
        self._resampler = Resampler(DECODED_RATE_HZ, MODEL_RATE_HZ)

    def decode(self, data: bytes) -> S16Samples:
        """What the packets that these bytes complete let be heard; nothing of a packet that is none."""
        packets = [self._decoded(packet) for packet in self._reader.push(data)]
        heard = to_s16(np.concatenate(packets)) if packets else array("h")
        self.samples += len(heard)
        return heard

    def _decoded(self, packet: bytes) -> Samples:
        try:
            return self._resampler.push(self._decoder.decode(packet))
        except MalformedAudio:
            return np.empty(0, dtype=np.float32)
