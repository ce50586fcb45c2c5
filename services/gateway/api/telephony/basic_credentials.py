"""Basic credentials (RFC 7617) of systems that can show nothing else: the password is the token."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from moshi_cluster.services.common.errors import InvalidInput


def basic_password(headers: Mapping[str, str]) -> str | None:
    """The password that a request shows; None where it shows none. Raises InvalidInput for what is no credentials."""
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user_password = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidInput("Authorization", "is no Basic credentials") from None
    return user_password.partition(":")[2] or None
