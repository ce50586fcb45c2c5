"""Keys of the session store: a file that every gateway of a cluster has, one for writing, each for reading."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence

from moshi_cluster.services.common.secret_lines import secret_lines
from moshi_cluster.services.common.settings import SettingError

KEY_BYTES = 32
_SETTING = "MOSHI_GATEWAY_SESSION_STORE_KEY_FILE"


class StoreKeys:
    """The keys, the newest first."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """keys: 32 bytes each, at least one."""
        self._keys = tuple(keys)

    @classmethod
    def of_file(cls, path: str) -> StoreKeys:
        """The keys of a file, one a line, base64. Blank lines and those that begin with # are passed over.

        Raises SettingError for a file that cannot be read, has none, or has a line that is no key, of which it shows
        nothing.
        """
        keys = [_key(line, place) for place, line in secret_lines(path, _SETTING, "key")]
        return cls(keys)

    @property
    def for_writing(self) -> bytes:
        """What new records are sealed with."""
        return self._keys[0]

    def __iter__(self) -> Iterator[bytes]:
        """What a record may be sealed with."""
        return iter(self._keys)


def _key(line: str, where: str) -> bytes:
    try:
        key = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingError(f"{_SETTING}: {where}: expected 32 bytes in base64, as `openssl rand -base64 32` makes them")
    return key
