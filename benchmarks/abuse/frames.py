"""WebSocket frames and Ogg pages byte by byte, also such as no honest client sends."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
"""Opcodes of RFC 6455."""

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def frame(payload: bytes, opcode: int = BINARY, masked: bool = True, long: bool = False, whole: bool = True) -> bytes:
    """A WebSocket frame, masked with zeros.

    long: the length takes eight bytes, although fewer would do. whole: it ends its message.
    """
    size, mask = len(payload), 0x80 if masked else 0
    if size > 0xFFFF or long:
        length = bytes([mask | 127]) + size.to_bytes(8, "big")
    elif size > 125:
        length = bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([mask | size])
    return bytes([0x80 * whole | opcode]) + length + (bytes(4) if masked else b"") + payload


def page(packets: Sequence[bytes], serial: int, granule: int = 0, flags: int = 0, number: int = 0) -> bytes:
    """An Ogg page of whole packets with its checksum (RFC 3533)."""
    lacing = b"".join(bytes([255] * (len(packet) // 255) + [len(packet) % 255]) for packet in packets)
    numbers = granule.to_bytes(8, "little") + serial.to_bytes(4, "little") + number.to_bytes(4, "little")
    unsigned = b"OggS\0" + bytes([flags]) + numbers + bytes(4) + bytes([len(lacing)]) + lacing + b"".join(packets)
    mirrored = zlib.crc32(unsigned.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return unsigned[:22] + mirrored.to_bytes(4, "big").translate(_REVERSED) + unsigned[26:]
