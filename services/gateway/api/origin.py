"""Origin of a request: which pages may open a call. Browsers say it with every WebSocket, other clients do not."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_DEFAULT_PORTS = {"http": "80", "https": "443"}
ANY = "*"


def is_allowed(headers: Mapping[str, str], allowed_origins: Collection[str]) -> bool:
    """Whether the page behind a request came from this server or from an allowed site; true for no page at all.

    Behind a reverse proxy this server's name may stand in X-Forwarded-Host, which no page can send.
    """
    origin = headers.get("Origin")
    if origin is None or ANY in allowed_origins or origin.lower() in allowed_origins:
        return True
    scheme, _, authority = origin.lower().partition("://")
    names = [headers.get("Host", ""), *headers.get("X-Forwarded-Host", "").split(",")]
    return bool(authority) and _with_port(authority, scheme) in {_with_port(name, scheme) for name in names}


def _with_port(authority: str, scheme: str) -> str:
    name = authority.strip().lower()
    has_port = name.rpartition(":")[2].isdecimal() and not name.endswith("]")
    return name if has_port else f"{name}:{_DEFAULT_PORTS.get(scheme, '')}"
