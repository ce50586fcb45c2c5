"""Sealing of what is stored: AES-256-GCM under a key of each conversation's own."""

from __future__ import annotations

import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_KEY_BYTES, _NONCE_BYTES = 32, 12
_NAME_DIGITS = 32


class Damaged(Exception):
    """A record is not what was written at its place, or was sealed with a key that is not at hand."""


class Seal:
    """Seals and opens the parts of one conversation's record.

    The key comes from the cluster's key and from the resumption key, which no record has: who holds store and cluster
    key, but no client's resumption key, reads nothing. Each conversation having one of its own, and its parts being
    fewer than 2^32, nonces of 96 random bits do not repeat.
    """

    def __init__(self, cluster_key: bytes, resumption_key: str) -> None:
        self._name = name_of(resumption_key)
        derived = HKDF(SHA256(), _KEY_BYTES, None, b"moshi-cluster session store 1")
        self._aead = AESGCM(derived.derive(cluster_key + resumption_key.encode()))

    def seal(self, part: str, plain: bytes) -> bytes:
        """What can be opened only as the same part of the same conversation."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, self._bound_to(part))

    def open(self, part: str, sealed: bytes) -> bytes:
        """What was sealed as this part. Raises Damaged."""
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._bound_to(part))
        except (InvalidTag, ValueError):
            raise Damaged(part) from None

    def _bound_to(self, part: str) -> bytes:
        return f"{self._name} {part}".encode()


def name_of(resumption_key: str) -> str:
    """The name of a conversation in the store; it does not lead back to the key."""
    return hashlib.sha256(b"moshi-cluster name " + resumption_key.encode()).hexdigest()[:_NAME_DIGITS]
