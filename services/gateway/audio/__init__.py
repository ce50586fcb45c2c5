"""The audio edge of a call: bytes in the caller's format to 24 kHz frames and back. Pure: no I/O, no clock of its own."""
