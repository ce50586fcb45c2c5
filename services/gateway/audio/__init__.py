"""The audio edge of a call: bytes in the caller's format to 24 kHz frames and back. No I/O, no clock of its own."""
