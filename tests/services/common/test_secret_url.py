"""URLs that may hold a password: where they lead is shown, and nothing else."""

from __future__ import annotations

import pytest

from moshi_cluster.services.common.secret_url import SecretUrl


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("redis://user:secret@host:6379/2?password=secret", "redis://host:6379/2"),
        ("rediss://:sec@ret@[::1]:1", "rediss://[::1]:1"),
        ("secret", "?"),
        ("redis://[secret", "?"),
    ],
)
def test_what_is_secret_is_not_shown(url: str, shown: str) -> None:
    assert SecretUrl(url).shown == shown
    assert repr(SecretUrl(url)) == repr(shown)
    assert SecretUrl(url) == url
