"""Record of a conversation in the store: a head, and its frames in pieces, each sealed for its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from moshi_cluster.services.gateway.store.sealing import Damaged, Seal

HEAD = b"head"
"""The field of the head; a piece's is the number of its first frame."""
_TOKEN_BYTES = 2
_OWN_FIELDS = frozenset((HEAD, b"owner", b"state", b"lease_ms", b"frames"))


class Frames(Protocol):
    """A conversation's frames, as they grow."""

    first_frame: int

    @property
    def total_frames(self) -> int: ...

    @property
    def width(self) -> int:
        """Tokens of a frame; 0 before the first."""

    def tokens(self, first: int, last: int) -> bytes:
        """Frames [first, last), 16 bits a token, little-endian."""


@dataclass(frozen=True)
class Stored:
    """What a record holds."""

    about: Mapping[str, Any]  # for whom stores it
    first_frame: int  # of the tokens
    total_frames: int
    width: int
    tokens: bytes


def seal_head(seal: Seal, about: Mapping[str, Any], first_frame: int, total_frames: int, width: int) -> bytes:
    """A head: what its pieces have to be, so that none can be taken away unseen."""
    head = {"about": about, "first_frame": first_frame, "total_frames": total_frames, "width": width}
    return seal.seal("head", json.dumps(head, separators=(",", ":")).encode())


def seal_piece(seal: Seal, frames: Frames, first: int, last: int) -> bytes:
    """Frames [first, last), bound to that place."""
    return seal.seal(f"frames {first}", frames.tokens(first, last))


def open_head(seal: Seal, sealed: bytes) -> Stored:
    """A head without its frames. Raises Damaged."""
    head = json.loads(seal.open("head", sealed))
    return Stored(**head, tokens=b"")


def open_record(seal: Seal, fields: Mapping[bytes, bytes]) -> Stored:
    """A whole record. Raises Damaged when a part is missing, or not what was written there."""
    head = open_head(seal, fields.get(HEAD, b""))
    pieces = {int(name): sealed for name, sealed in fields.items() if name not in _OWN_FIELDS}
    tokens, at = bytearray(), head.first_frame
    while at < head.total_frames:
        piece = seal.open(f"frames {at}", pieces.get(at, b""))
        tokens += piece
        at += len(piece) // (_TOKEN_BYTES * head.width)
    if at != head.total_frames or len(tokens) != (at - head.first_frame) * _TOKEN_BYTES * head.width:
        raise Damaged("frames")
    return Stored(head.about, head.first_frame, head.total_frames, head.width, bytes(tokens))
