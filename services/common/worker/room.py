"""Room for sessions in a device's memory."""

from __future__ import annotations


class NoRoomError(Exception):
    """Not one session fits the free memory, or fewer than were set; the message has the arithmetic."""
