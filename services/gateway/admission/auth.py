"""Bearer tokens that callers must show, kept in a file so that no command line and no log has them."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from moshi_cluster.services.common.errors import OverQuota, Unauthenticated
from moshi_cluster.services.common.reloaded import Reloaded
from moshi_cluster.services.common.secret_lines import secret_lines
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.admission.token_quotas import Grant

_SCHEME = "bearer"
_REFUSAL_DELAY_S = 1.0
_MOST_REFUSALS = 4
_TOKEN = re.compile(r"[!-~]+")  # what a header and a query can carry
_GRANT = {
    "name": re.compile(r"[\w.-]{1,64}", re.ASCII),
    "sessions": re.compile(r"[0-9]{1,6}"),
    "openings_per_s": re.compile(r"(?!0+(\.0+)?$)[0-9]{1,6}(\.[0-9]{1,3})?"),
}


class Tokens:
    """The accepted tokens and what each stands for; without any, nobody is asked for one."""

    def __init__(self, accepted: Mapping[str, Grant] | None = None) -> None:
        self._accepted = [(token.encode(), grant) for token, grant in (accepted or {}).items()]

    @classmethod
    def of_file(cls, path: str, variable: str) -> Tokens:
        """The tokens of a file; no path: none. Raises SettingError for a file that cannot be read, or has none.

        One a line, and behind it perhaps `name=`, `sessions=` and `openings_per_s=`. Blank lines and those that begin
        with # are comments, a byte-order mark is passed over; other words are refused, for one of them would be a
        credential that nobody meant. variable: that names the file.
        """
        if not path:
            return cls()
        return cls(dict(_line(line, place, variable) for place, line in secret_lines(path, variable, "token")))

    def require(self, shown: str | None) -> Grant | None:
        """What the token stands for; None where nobody is asked. Raises Unauthenticated unless it is accepted. How long
        it takes does not say how close it was.
        """
        if not self._accepted:
            return None
        if not shown:
            raise Unauthenticated("this server asks for a token")
        given = shown.encode("utf-8", "surrogateescape")
        found = [grant for token, grant in self._accepted if hmac.compare_digest(given, token)]  # looks at all of them
        if not found:
            raise Unauthenticated("the token is not known here")
        return found[0]


def token_file(path: str, variable: str) -> Callable[[], Tokens]:
    """The tokens of a file as it is now: a changed one is read within a second. Raises as `Tokens.of_file`."""
    if not path:
        return Tokens
    return Reloaded([Path(path)], lambda: Tokens.of_file(path, variable)).get


class TokenGate:
    """Checks tokens and slows down who tries some: a wrong one is refused late, and few at a time of one address."""

    def __init__(
        self,
        tokens: Callable[[], Tokens],
        on_wrong: Callable[[], None],
        refusal_delay_s: float = _REFUSAL_DELAY_S,
        most_refusals: int = _MOST_REFUSALS,
    ) -> None:
        """tokens: those of now. on_wrong: called for every wrong one. most_refusals: of one address that may be under
        way.
        """
        self._tokens = tokens
        self._on_wrong = on_wrong
        self._refusal_delay_s = refusal_delay_s
        self._most_refusals = most_refusals
        self._refusals: Counter[str] = Counter()

    async def require(self, shown: str | None, client: str) -> Grant | None:
        """What the token stands for; None where nobody is asked. Raises Unauthenticated unless it is accepted;
        OverQuota, without a look at it, while its address shows many wrong ones. Either comes late.

        client: the caller's address.
        """
        if shown and self._refusals[client] >= self._most_refusals:
            await asyncio.sleep(self._refusal_delay_s)
            problem = "too many wrong tokens of this address; try again in a few seconds"
            raise OverQuota(problem, "TOO_MANY_WRONG_TOKENS", round(2000 * self._refusal_delay_s))
        try:
            return self._tokens().require(shown)
        except Unauthenticated:
            if shown:
                await self._refuse(client)
            raise

    async def _refuse(self, client: str) -> None:
        self._on_wrong()
        self._refusals[client] += 1
        try:
            await asyncio.sleep(self._refusal_delay_s)
        finally:
            self._refusals[client] -= 1
            if not self._refusals[client]:
                del self._refusals[client]


def _line(line: str, where: str, variable: str) -> tuple[str, Grant]:
    """The token of a line and what it stands for. The message never shows any of it."""
    token, *words = line.split()
    settings = dict(word.partition("=")[::2] for word in words)
    wrong = [name for name, text in settings.items() if name not in _GRANT or not _GRANT[name].fullmatch(text)]
    if not _TOKEN.fullmatch(token) or wrong or len(settings) < len(words):
        raise SettingError(
            f"{variable}: {where}: expected one token of printable ASCII without spaces, behind it at most name=NAME,"
            " sessions=NUMBER and openings_per_s=NUMBER"
        )
    return token, Grant(
        settings.get("name", where.rpartition(", ")[2].replace(" ", "-")),
        int(settings["sessions"]) if "sessions" in settings else None,
        float(settings["openings_per_s"]) if "openings_per_s" in settings else None,
    )


def bearer(header: str | bytes | None) -> str | None:
    """The token of an `authorization` header."""
    text = header.decode("utf-8", "replace") if isinstance(header, bytes) else header or ""
    scheme, _, token = text.partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else None
