"""Fingerprint of a checkpoint, which tells workers that have loaded the same one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from moshi_cluster.models.loading.digest_cache import DigestCache

_HEX_DIGITS = 16
_PIECE_BYTES = 32 << 20
_THREADS = min(8, os.cpu_count() or 1)


def fingerprint(
    configs: Iterable[Mapping[str, Any] | None], files: Iterable[Path], cache: DigestCache | None = None
) -> str:
    """16 hex digits from the configurations and every byte of the files, the same on every machine.

    cache: of the files' digests; None for the user's own. A file is read once, and again when its size or time changed.
    """
    known = DigestCache.of_user() if cache is None else cache
    digest = hashlib.sha256()
    for config in configs:
        digest.update(json.dumps(config, sort_keys=True).encode())
    for path in files:
        digest.update(known.digest_of(path, _digest))
    return digest.hexdigest()[:_HEX_DIGITS]


def _digest(path: Path) -> bytes:
    """SHA-256 over the SHA-256 of each piece of 32 MiB: several threads hash a large file at once."""
    starts = range(0, path.stat().st_size, _PIECE_BYTES)
    with ThreadPoolExecutor(_THREADS) as threads:
        pieces = threads.map(lambda start: _piece_digest(path, start), starts)
        return hashlib.sha256(b"".join(pieces)).digest()


def _piece_digest(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(_PIECE_BYTES)).digest()
