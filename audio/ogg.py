"""Opus packets in and out of Ogg pages (RFC 3533, RFC 7845), as browsers and Moshi's own clients send and expect them.

A stream here is cut anywhere, joined in the middle and started anew at will, and reading it must not block, whereas
libraries read files. Ogg being a few rules about bytes, this is a parser of its own.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterator

_CAPTURE = b"OggS"
_HEADER = struct.Struct("<4sBBqIIIB")  # capture, version, flags, granule, serial, sequence, checksum, segments
_SERIAL, _CHECKSUM = slice(14, 18), slice(22, 26)
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_NO_GRANULE = 2**64 - 1  # of a page on which no packet ends
_SEGMENT_BYTES = 255
_MAX_SEGMENTS = 255
_GRANULE_RATE_HZ = 48_000  # whatever the rate of the sound
_PRE_SKIP_SAMPLES = 312  # libopus' own delay at that rate
_VENDOR = b"moshi-cluster"
_HEADERS = (b"OpusHead", b"OpusTags")
_MOST_OTHER_STREAMS = 16
_TAKEOVER_GRANULES = 3 * _GRANULE_RATE_HZ // 2

MAX_PACKET_BYTES = 61_440
"""The longest Opus packet there is: 48 frames of 1280 bytes (RFC 6716)."""

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OpusStreamReader:
    """Finds the Opus packets in a stream of bytes cut anywhere. What is no Ogg, or damaged, is skipped and counted.

    Headers are left out, wherever and however often they come. Of several logical streams in the same bytes the first
    one with Opus is read, see _LogicalStreams. Holds at most one page and one packet; the time for any bytes is
    proportional to their number.
    """

    def __init__(self) -> None:
        self.skipped_bytes = 0
        self.other_pages = 0
        """Pages of logical streams that are not read."""
        self._pending = b""
        self._streams = _LogicalStreams()
        self._begun: bytearray | None = None  # of a packet that goes on on the next page
        self._begun_serial = b""

    def push(self, data: bytes) -> list[bytes]:
        """The packets that these bytes complete."""
        return [packet for packets in self.pages(data) for packet in packets]

    def pages(self, data: bytes) -> Iterator[list[bytes]]:
        """The packets of each page that these bytes complete, of one that is not read none; to be read to its end.

        A step takes the time of one page, and there is at least one for every 27 bytes: who has other things to do
        looks at the time between them.
        """
        stream, self._pending = self._pending + data, b""
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
            yield self._read(page)
        self._pending = stream[at:]

    def _read(self, page: bytes) -> list[bytes]:
        if not _is_intact(page):
            self.skipped_bytes += len(page)
            return []
        if not self._streams.is_read(page):
            self.other_pages += 1
            return []
        if page[_SERIAL] != self._begun_serial:
            self._begun, self._begun_serial = None, page[_SERIAL]
        return [packet for packet in self._packets(page) if packet and not packet.startswith(_HEADERS)]

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


class _LogicalStreams:
    """Which of several logical streams is read: the first one with Opus until its end, then the next.

    RFC 3533 lets streams be multiplexed, all their first pages before any other, and chained, one behind the end of the
    other. Beyond it a stream may be joined in its middle, until one begins. One that begins in the middle of another,
    which it must not, takes over once nothing came of that one for a while: its writer was started anew.
    """

    def __init__(self) -> None:
        self._serial: int | None = None
        self._is_joined = False  # its first page was not seen
        self._has_data = False
        self._others: deque[int] = deque(maxlen=_MOST_OTHER_STREAMS)
        self._rival: int | None = None
        self._rival_since: int | None = None  # its granule position when the stream that is read last had a page

    def is_read(self, page: bytes) -> bool:
        """Whether this page's packets count."""
        _, _, flags, granule, serial, _, _, segments = _HEADER.unpack_from(page)
        is_first = bool(flags & _FIRST)
        is_opus = not is_first or page.startswith(_HEADERS[0], _HEADER.size + segments)
        if self._may_begin(serial, granule, is_first) and is_opus:
            self._begin(serial, joined=not is_first)
        if serial != self._serial:
            self._note_other(serial, is_first and is_opus)
            return False
        self._rival_since = None
        self._has_data |= not is_first
        if flags & _LAST:
            self._serial = None
        return True

    def _may_begin(self, serial: int, granule: int, is_first: bool) -> bool:
        if self._serial is None or (is_first and self._is_joined):
            return is_first or serial not in self._others
        if serial != self._rival or granule == _NO_GRANULE:
            return False
        if self._rival_since is None:
            self._rival_since = granule
        return granule - self._rival_since > _TAKEOVER_GRANULES

    def _begin(self, serial: int, joined: bool) -> None:
        if self._serial is not None:
            self._others.append(self._serial)
        self._serial = serial
        self._is_joined = joined and serial != self._rival
        self._has_data = False
        self._rival = self._rival_since = None

    def _note_other(self, serial: int, begins: bool) -> None:
        if serial not in self._others:
            self._others.append(serial)
        if begins and self._has_data:
            self._rival, self._rival_since = serial, None


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
