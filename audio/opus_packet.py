"""Length of an Opus packet, from its first two bytes (RFC 6716, sections 3.1 and 3.2)."""

from __future__ import annotations

LONGEST_S = 0.12
"""No packet is longer."""

_FRAMES_MS = (
    *(10.0, 20.0, 40.0, 60.0) * 3,  # SILK: narrow, medium and wide band
    *(10.0, 20.0) * 2,  # both: super-wide and full band
    *(2.5, 5.0, 10.0, 20.0) * 4,  # CELT: narrow, wide, super-wide and full band
)
"""Length of one frame, by the configuration that the packet names."""


def duration_s(packet: bytes) -> float:
    """Seconds of sound that a packet says it holds, at most LONGEST_S; 0 for an empty one. Decodes nothing."""
    if not packet:
        return 0.0
    frame_ms = _FRAMES_MS[packet[0] >> 3]
    return min(LONGEST_S, _frames(packet) * frame_ms / 1000)


def _frames(packet: bytes) -> int:
    code = packet[0] & 3
    if code < 3:
        return 1 if code == 0 else 2
    return packet[1] & 63 if len(packet) > 1 else 0
