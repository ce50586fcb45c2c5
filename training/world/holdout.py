"""Held-out combinations, which training never sees. A hash decides: the same everywhere, in every version of Python."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

Split = Literal["train", "eval"]


def held_out(kind: str, combination: str, one_in: int) -> bool:
    """True for about one in `one_in` combinations of a kind."""
    digest = blake2b(f"{kind}: {combination}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % one_in == 0
