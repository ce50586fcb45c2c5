"""What callers must show: bearer tokens, kept in a file so that no command line and no log has them."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from pathlib import Path

from moshi_cluster.services.common.errors import Unauthenticated
from moshi_cluster.services.common.settings import SettingError

_SCHEME = "bearer"


class Tokens:
    """Those that are accepted; with none of them, nobody is asked."""

    def __init__(self, accepted: Iterable[str] = ()) -> None:
        self._accepted = [token.encode() for token in accepted]

    @classmethod
    def of_file(cls, path: str) -> Tokens:
        """One a line; no path: none. Raises SettingError for a file that cannot be read or holds none."""
        if not path:
            return cls()
        try:
            accepted = Path(path).read_text("utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"MOSHI_GATEWAY_TOKEN_FILE: {path} cannot be read: {error}") from None
        if not accepted:
            raise SettingError(f"MOSHI_GATEWAY_TOKEN_FILE: no token in {path}")
        return cls(accepted)

    def require(self, shown: str | None) -> None:
        """Raises Unauthenticated unless this is one of them. How long it takes does not say how close it was."""
        if not self._accepted:
            return
        if not shown:
            raise Unauthenticated("this server asks for a token")
        given = shown.encode("utf-8", "surrogateescape")
        if not sum(hmac.compare_digest(given, token) for token in self._accepted):  # looks at all of them
            raise Unauthenticated("the token is not known here")


def bearer(header: str | bytes | None) -> str | None:
    """The token of an `authorization` header."""
    text = header.decode("utf-8", "replace") if isinstance(header, bytes) else header or ""
    scheme, _, token = text.partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else None
