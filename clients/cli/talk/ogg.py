"""Opus packets in and out of Ogg pages (RFC 3533, RFC 7845). Libraries read files; this is a stream cut anywhere."""

from __future__ import annotations

import struct
import zlib

_HEADER = struct.Struct("<4sBBqIIIB")  # capture, version, flags, granule, serial, sequence, checksum, segments
_CAPTURE = b"OggS"
_CONTINUED, _FIRST = 1, 2
_CHECKSUM = slice(22, 26)
_SEGMENT_BYTES = 255
_MAX_PACKET_BYTES = 61_440  # the longest there is (RFC 6716)
_GRANULE_RATE_HZ = 48_000  # whatever the rate of the sound
_PRE_SKIP_SAMPLES = 312  # libopus' own delay at that rate
_VENDOR = b"moshi-cluster"
_HEADERS = (b"OpusHead", b"OpusTags")
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OggReader:
    """Finds the Opus packets in bytes cut anywhere; skips headers and what is no Ogg. Holds one page and one packet."""

    def __init__(self) -> None:
        self._pending = b""
        self._begun = b""  # of a packet that goes on on the next page

    def push(self, data: bytes) -> list[bytes]:
        """The packets that these bytes complete."""
        stream = self._pending + data
        packets: list[bytes] = []
        while (start := stream.find(_CAPTURE)) >= 0:
            stream = stream[start:]
            length = _page_bytes(stream)
            if length is None or length > len(stream):
                self._pending = stream
                return packets
            packets += self._packets(stream[:length])
            stream = stream[length:]
        self._pending = stream[-3:]  # may be the beginning of a capture
        return packets

    def _packets(self, page: bytes) -> list[bytes]:
        if not page[5] & _CONTINUED:
            self._begun = b""
        found, at = [], _HEADER.size + page[26]
        for length in page[_HEADER.size : at]:
            self._begun = (self._begun + page[at : at + length])[:_MAX_PACKET_BYTES]
            at += length
            if length < _SEGMENT_BYTES:
                found.append(self._begun)
                self._begun = b""
        return [packet for packet in found if packet and not packet.startswith(_HEADERS)]


class OggWriter:
    """Puts Opus packets into pages, one each; the stream's headers come before the first."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._pages = 0
        self._granule = 0

    def write(self, packet: bytes, samples: int) -> bytes:
        """Whole pages with the packet. samples: its length."""
        headers = b"" if self._pages else self._page(_opus_head(self._rate_hz), _FIRST) + self._page(_opus_tags())
        self._granule += samples * _GRANULE_RATE_HZ // self._rate_hz
        return headers + self._page(packet)

    def _page(self, packet: bytes, flags: int = 0) -> bytes:
        whole, rest = divmod(len(packet), _SEGMENT_BYTES)
        lacing = bytes([_SEGMENT_BYTES] * whole + [rest])
        header = _HEADER.pack(_CAPTURE, 0, flags, self._granule, 1, self._pages, 0, len(lacing))
        self._pages += 1
        page = bytearray(header + lacing + packet)
        page[_CHECKSUM] = _checksum(page)
        return bytes(page)


def _page_bytes(stream: bytes) -> int | None:
    """Length of the page that the stream begins with; None when its header has not come yet."""
    if len(stream) < _HEADER.size or len(stream) < (end := _HEADER.size + stream[26]):
        return None
    return end + sum(stream[_HEADER.size : end])


def _opus_head(rate_hz: int) -> bytes:
    version, channels, gain, mapping = 1, 1, 0, 0
    return b"OpusHead" + struct.pack("<BBHIhB", version, channels, _PRE_SKIP_SAMPLES, rate_hz, gain, mapping)


def _opus_tags() -> bytes:
    return b"OpusTags" + struct.pack("<I", len(_VENDOR)) + _VENDOR + struct.pack("<I", 0)


def _checksum(page: bytearray) -> bytes:
    """CRC-32 of RFC 3533, section 6: zlib's mirror image without its inversions, hence the reversals and masks."""
    mirrored = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return mirrored.to_bytes(4, "little").translate(_REVERSED_BITS)[::-1]
