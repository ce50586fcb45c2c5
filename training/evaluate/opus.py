"""Opus baseline that Mimi is compared with, through FFmpeg's libopus."""

from __future__ import annotations

import numpy as np

from moshi_cluster.audio.opus import COMPLEXITY_MAX, DECODED_RATE_HZ, OpusDecoder, OpusEncoder
from moshi_cluster.audio.pcm import Samples

_PACKET_MS = 20
_SEARCH_MS = 40  # the codec's own delay is some 6 ms


def through_opus(pcm: Samples, rate_hz: int, bits_per_s: int) -> tuple[Samples, float]:
    """pcm: [N] -> the same after coding, without the codec's delay, and the bits per second it really took.

    rate_hz: 8000, 12000, 16000 or 24000.
    """
    packets = _encode(pcm, rate_hz, bits_per_s)
    decoded = _decode(packets)[:: DECODED_RATE_HZ // rate_hz]
    spent = 8 * sum(map(len, packets)) / (len(pcm) / rate_hz)
    return _aligned(decoded, pcm, _SEARCH_MS * rate_hz // 1000), spent


def _encode(pcm: Samples, rate_hz: int, bits_per_s: int) -> list[bytes]:
    encoder = OpusEncoder(rate_hz, _PACKET_MS, bits_per_s, COMPLEXITY_MAX)
    size = rate_hz * _PACKET_MS // 1000
    padded = np.pad(pcm, (0, -len(pcm) % size + _SEARCH_MS * rate_hz // 1000))
    return [encoder.encode(padded[start : start + size]) for start in range(0, len(padded), size)]


def _decode(packets: list[bytes]) -> Samples:
    decoder = OpusDecoder()
    return np.concatenate([decoder.decode(packet) for packet in packets])


def _aligned(late: Samples, pcm: Samples, longest: int) -> Samples:
    late = np.pad(late, (0, max(0, len(pcm) + longest - len(late))))
    likeness = [float(late[delay : delay + len(pcm)] @ pcm) for delay in range(longest)]
    best = int(np.argmax(likeness))
    return late[best : best + len(pcm)]
