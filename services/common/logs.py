"""Logging: one line per event on stderr, never audio, never text of a conversation."""

from __future__ import annotations

import logging
import sys


def configure(service: str, level: str) -> None:
    """Sets up logging for the process; `service` stands on every line."""
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format=f"%(asctime)s %(levelname)s {service} %(name)s %(message)s",
        force=True,
    )
