"""Opus packets in and out of Ogg pages (RFC 3533, RFC 7845), as browsers and Moshi's own clients send and expect them.

A stream here is cut anywhere, joined in the middle and started anew at will, and reading it must not block, whereas
libraries read files. Ogg being a few rules about bytes, this is a parser of its own.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_CAPTURE = b"OggS"
_HEADER = struct.Struct("<4sBBqIIIB")  # capture, version, flags, granule, serial, sequence, checksum, segments
_CHECKSUM = slice(22, 26)
_CONTINUED, _FIRST = 1, 2
_SEGMENT_BYTES = 255
_MAX_SEGMENTS = 255
_GRANULE_RATE_HZ = 48_000  # whatever the rate of the sound
_PRE_SKIP_SAMPLES = 312  # libopus' own delay at that rate
_VENDOR = b"moshi-cluster"
_HEADERS = (b"OpusHead", b"OpusTags")

MAX_PACKET_BYTES = 61_440
"""The longest Opus packet there is: 48 frames of 1280 bytes (RFC 6716)."""

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OpusStreamReader:
    """Finds the Opus packets in a stream of bytes cut anywhere. What is no Ogg, or damaged, is skipped and counted.

    Headers are left out, wherever and however often they come. Holds at most one page and one packet; the time for
    any bytes is proportional to their number.
    """

    def __init__(self) -> None:
        self.skipped_bytes = 0
        self._pending = b""
        self._begun: bytearray | None = None  # of a packet that goes on on the next page

    def push(self, data: bytes) -> list[bytes]:
        """The packets that these bytes complete."""
        stream = self._pending + data
        packets: list[bytes] = []
        at = 0
        while True:
            start = _find_capture(stream, at)
            self.skipped_bytes += start - at
            at = start
            length = _page_bytes(stream, at)
            if length is None or at + length > len(stream):
                break
            page = stream[at : at + length]
            at += length
            if _is_intact(page):
                packets.extend(packet for packet in self._packets(page) if packet and not packet.startswith(_HEADERS))
            else:
                self.skipped_bytes += length
        self._pending = stream[at:]
        return packets

    def _packets(self, page: bytes) -> Iterator[bytes]:
        flags, segments = page[5], page[_HEADER.size - 1]
        if not flags & _CONTINUED:
            self._begun = bytearray()
        at = _HEADER.size + segments
        for length in page[_HEADER.size : at]:
            if self._begun is not None:  # None: the beginning of this packet was lost
                self._begun += page[at : at + length]
                if len(self._begun) > MAX_PACKET_BYTES:
                    self._begun = None
            at += length
            if length < _SEGMENT_BYTES:
                if self._begun is not None:
                    yield bytes(self._begun)
                self._begun = bytearray()


class OpusStreamWriter:
    """Puts Opus packets into Ogg pages, one each: headers first, then what is written."""

    def __init__(self, serial: int = 42) -> None:
        """serial: names the stream; Moshi's own servers use 42 for every one."""
        self._serial = serial
        self._pages = 0
        self._granule = 0

    def write(self, packet: bytes, samples: int, rate_hz: int) -> bytes:
        """Whole pages with the packet; before the first one the stream's headers. samples: its length at rate_hz."""
        headers = b""
        if not self._pages:
            headers = self._page(_opus_head(rate_hz), _FIRST) + self._page(_opus_tags())
        self._granule += samples * _GRANULE_RATE_HZ // rate_hz
        return headers + self._page(packet)

    def _page(self, packet: bytes, flags: int = 0) -> bytes:
        whole, rest = divmod(len(packet), _SEGMENT_BYTES)
        if whole >= _MAX_SEGMENTS:
            raise ValueError(f"packet: {len(packet)} bytes do not fit one page")
        lacing = bytes([_SEGMENT_BYTES] * whole + [rest])
        header = _HEADER.pack(_CAPTURE, 0, flags, self._granule, self._serial, self._pages, 0, len(lacing))
        self._pages += 1
        page = bytearray(header + lacing + packet)
        page[_CHECKSUM] = _checksum(page).to_bytes(4, "little")
        return bytes(page)


def _opus_head(rate_hz: int) -> bytes:
    version, channels, gain, mapping = 1, 1, 0, 0
    return b"OpusHead" + struct.pack("<BBHIhB", version, channels, _PRE_SKIP_SAMPLES, rate_hz, gain, mapping)


def _opus_tags() -> bytes:
    return b"OpusTags" + struct.pack("<I", len(_VENDOR)) + _VENDOR + struct.pack("<I", 0)


def _find_capture(stream: bytes, at: int) -> int:
    """Where from `at` on the next page may begin: at a whole capture, or at the end's beginning of one."""
    if (start := stream.find(_CAPTURE, at)) >= 0:
        return start
    tail = stream[max(at, len(stream) - 3) :]
    return len(stream) - next(n for n in (3, 2, 1, 0) if tail.endswith(_CAPTURE[:n]))


def _page_bytes(stream: bytes, at: int) -> int | None:
    """Length of the page at `at`; None when its header has not come yet."""
    lacing_at = at + _HEADER.size
    if len(stream) < lacing_at or len(stream) < (end := lacing_at + stream[lacing_at - 1]):
        return None
    return end - at + sum(stream[lacing_at:end])


def _is_intact(page: bytes) -> bool:
    unsigned = bytearray(page)
    unsigned[_CHECKSUM] = bytes(4)
    return page[4] == 0 and _checksum(unsigned) == int.from_bytes(page[_CHECKSUM], "little")


def _checksum(page: bytearray) -> int:
    """CRC-32 with the usual polynomial, but the highest bit first and zero at start and end (RFC 3533, section 6).

    zlib has the mirror image: each byte's bits reversed in, the result's bits reversed out. Its start and end are
    inverted, hence the two masks.
    """
    mirrored = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED_BITS), "big")
