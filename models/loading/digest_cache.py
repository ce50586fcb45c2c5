"""Cache of file digests on disk: 15 GB are not hashed at every start."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_FORM = 1  # of the entries and of the digests in them


@dataclass(frozen=True)
class DigestCache:
    """One small file for each file that was hashed, by its path; valid while size and time are the same.

    A folder that cannot be written costs the time to hash again, nothing else.
    """

    folder: Path

    @classmethod
    def of_user(cls) -> DigestCache:
        """Below $XDG_CACHE_HOME, ~/.cache if that is not set."""
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        return cls(Path(home) / "moshi-cluster" / "digests")

    def digest_of(self, path: Path, hash_file: Callable[[Path], bytes]) -> bytes:
        """The file's digest, from the cache or by `hash_file`. Raises OSError for a file that cannot be read."""
        real = path.resolve()
        entry = self.folder / hashlib.sha256(os.fsencode(real)).hexdigest()
        state = _state(real)
        if (known := _read(entry, state)) is not None:
            return known
        digest = hash_file(real)
        if _state(real) == state and self.folder.is_absolute():  # not while somebody writes it, not without a home
            with contextlib.suppress(OSError):
                _write(entry, {**state, "digest": digest.hex()})
        return digest


def _state(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"form": _FORM, "size_bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _read(entry: Path, state: dict[str, int]) -> bytes | None:
    try:
        found = json.loads(entry.read_bytes())
        return bytes.fromhex(found.pop("digest")) if found | state == found else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(entry: Path, content: dict[str, int | str]) -> None:
    """Whole or not at all: several workers may write one entry at once."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=entry.parent, delete=False) as file:
        json.dump(content, file)
    os.replace(file.name, entry)
