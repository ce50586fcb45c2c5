"""Ogg pages as other writers make them, byte by byte: several packets on one, several streams, another codec."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.abuse.frames import page
from moshi_cluster.audio.opus import OpusEncoder

FIRST, LAST = 2, 4


def headers(serial: int, codec: bytes = b"Opus") -> bytes:
    """The two pages before any voice."""
    head = codec + b"Head" + bytes([1, 1]) + bytes(9)
    return page([head], serial, flags=FIRST) + page([codec + b"Tags" + bytes(8)], serial, number=1)


def opus_packets(seconds: float, hz: float = 440.0, packet_ms: int = 20) -> list[bytes]:
    """A tone."""
    encoder, size = OpusEncoder(24_000, packet_ms), 24 * packet_ms
    tone = 0.3 * np.sin(np.arange(round(seconds * 24_000), dtype=np.float32) * (2 * np.pi * hz / 24_000))
    return [encoder.encode(tone[at : at + size].astype(np.float32)) for at in range(0, tone.size, size)]


def voice_pages(packets: Sequence[bytes], page_ms: float, serial: int = 7, packet_ms: float = 20) -> Iterator[bytes]:
    """Pages of about this length, the first with the headers before it."""
    begun: list[bytes] = []
    before, number = headers(serial), 2
    for index, packet in enumerate(packets, 1):
        begun.append(packet)
        if int(index * packet_ms / page_ms + 1e-9) > int((index - 1) * packet_ms / page_ms + 1e-9):
            yield before + page(begun, serial, round(index * packet_ms * 48), number=number)
            before, begun, number = b"", [], number + 1
