"""Subprotocol of /api/chat: how a client that comes back names the conversation, in a header and not in the address."""

from __future__ import annotations

from collections.abc import Mapping

NAME = "moshi-cluster"
"""Offered beside the key, and chosen: browsers refuse a server that chooses none of what they offer."""

_RESUME = f"{NAME}.resume."
_HEADER = "Sec-WebSocket-Protocol"


def resume_key(headers: Mapping[str, str]) -> str | None:
    """The key that the request offers, if it offers one."""
    offered = (name.strip() for name in headers.get(_HEADER, "").split(","))
    return next((name.removeprefix(_RESUME) for name in offered if name.startswith(_RESUME)), None)
