"""URL that may hold a password: what shows of it in logs and errors is where it leads."""

from __future__ import annotations

from urllib.parse import urlsplit


class SecretUrl(str):
    """A URL whose `repr` has neither user, password nor query."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(self.shown)

    @property
    def shown(self) -> str:
        """Scheme, host, port and path; nothing of what is no URL."""
        try:
            parts = urlsplit(self)
        except ValueError:
            return "?"
        if not parts.scheme:
            return "?" if self else ""
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
