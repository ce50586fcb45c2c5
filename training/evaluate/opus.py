"""Opus baseline that Mimi is compared with, through FFmpeg's libopus."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

_PACKET_MS = 20
_DECODED_RATE_HZ = 48_000
_SEARCH_MS = 40  # the codec's own delay is some 6 ms


def through_opus(pcm: NDArray[np.float32], rate_hz: int, bits_per_s: int) -> tuple[NDArray[np.float32], float]:
    """pcm: [N] -> the same after coding, without the codec's delay, and the bits per second it really took.

    rate_hz: 8000, 12000, 16000 or 24000.
    """
    packets = _encode(pcm, rate_hz, bits_per_s)
    decoded = _decode(packets)[:: _DECODED_RATE_HZ // rate_hz]
    spent = 8 * sum(map(len, packets)) / (len(pcm) / rate_hz)
    return _aligned(decoded, pcm, _SEARCH_MS * rate_hz // 1000), spent


def _encode(pcm: NDArray[np.float32], rate_hz: int, bits_per_s: int) -> list[bytes]:
    encoder = av.AudioCodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate_hz, "mono", "flt"
    encoder.bit_rate = bits_per_s
    encoder.options = {"application": "voip", "frame_duration": str(_PACKET_MS)}
    encoder.open()
    size = rate_hz * _PACKET_MS // 1000
    padded = np.pad(pcm, (0, -len(pcm) % size + _SEARCH_MS * rate_hz // 1000))
    packets = []
    for start in range(0, len(padded), size):
        frame = av.AudioFrame.from_ndarray(padded[None, start : start + size], format="flt", layout="mono")
        frame.sample_rate = rate_hz
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


def _decode(packets: list[bytes]) -> NDArray[np.float32]:
    decoder = av.AudioCodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = _DECODED_RATE_HZ, "mono"
    frames = [frame.to_ndarray()[0] for packet in packets for frame in decoder.decode(av.Packet(packet))]
    samples = np.concatenate(frames)
    scale = 1 / 32768 if samples.dtype == np.int16 else 1.0
    scaled: NDArray[np.float32] = samples.astype(np.float32) * np.float32(scale)
    return scaled


def _aligned(late: NDArray[np.float32], pcm: NDArray[np.float32], longest: int) -> NDArray[np.float32]:
    late = np.pad(late, (0, max(0, len(pcm) + longest - len(late))))
    likeness = [float(late[delay : delay + len(pcm)] @ pcm) for delay in range(longest)]
    best = int(np.argmax(likeness))
    return late[best : best + len(pcm)]
