"""Bearer tokens that callers must show, kept in a file so that no command line and no log has them."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterable

from moshi_cluster.services.common.errors import OverQuota, Unauthenticated
from moshi_cluster.services.common.secret_lines import secret_lines
from moshi_cluster.services.common.settings import SettingError

_SCHEME = "bearer"
_REFUSAL_DELAY_S = 1.0
_MOST_REFUSALS = 4
_TOKEN = re.compile(r"[!-~]+")  # what a header and a query can carry


class Tokens:
    """The accepted tokens; without any, nobody is asked for one."""

    def __init__(self, accepted: Iterable[str] = ()) -> None:
        self._accepted = [token.encode() for token in accepted]

    @classmethod
    def of_file(cls, path: str, variable: str) -> Tokens:
        """The tokens of a file; no path: none. Raises SettingError for a file that cannot be read, or has none.

        One a line. Blank lines and those that begin with # are comments, a byte-order mark is passed over; a line of
        several words is refused, for one of them would be a credential that nobody meant. variable: of the setting.
        """
        if not path:
            return cls()
        accepted = [_token(line, place, variable) for place, line in secret_lines(path, variable, "token")]
        return cls(accepted)

    def require(self, shown: str | None) -> None:
        """Raises Unauthenticated unless this token is accepted. How long it takes does not say how close it was."""
        if not self._accepted:
            return
        if not shown:
            raise Unauthenticated("this server asks for a token")
        given = shown.encode("utf-8", "surrogateescape")
        if not sum(hmac.compare_digest(given, token) for token in self._accepted):  # looks at all of them
            raise Unauthenticated("the token is not known here")


class TokenGate:
    """Checks tokens and slows down who tries some: a wrong one is refused late, and few at a time of one address."""

    def __init__(
        self,
        tokens: Tokens,
        on_wrong: Callable[[], None],
        refusal_delay_s: float = _REFUSAL_DELAY_S,
        most_refusals: int = _MOST_REFUSALS,
    ) -> None:
        """on_wrong: called for every wrong token. most_refusals: of one address that may be under way."""
        self._tokens = tokens
        self._on_wrong = on_wrong
        self._refusal_delay_s = refusal_delay_s
        self._most_refusals = most_refusals
        self._refusals: Counter[str] = Counter()

    async def require(self, shown: str | None, client: str) -> None:
        """Raises Unauthenticated unless this token is accepted; OverQuota, without a look at it, while its address
        shows many wrong ones. Either comes late.

        client: the caller's address.
        """
        if shown and self._refusals[client] >= self._most_refusals:
            await asyncio.sleep(self._refusal_delay_s)
            problem = "too many wrong tokens of this address; try again in a few seconds"
            raise OverQuota(problem, "TOO_MANY_WRONG_TOKENS", round(2000 * self._refusal_delay_s))
        try:
            self._tokens.require(shown)
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


def _token(line: str, where: str, variable: str) -> str:
    """The token of a line. The message never shows any of it."""
    if not _TOKEN.fullmatch(line):
        raise SettingError(f"{variable}: {where}: expected one token of printable ASCII without spaces")
    return line


def bearer(header: str | bytes | None) -> str | None:
    """The token of an `authorization` header."""
    text = header.decode("utf-8", "replace") if isinstance(header, bytes) else header or ""
    scheme, _, token = text.partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else None
