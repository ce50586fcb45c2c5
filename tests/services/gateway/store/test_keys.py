"""Keys of the session store: what is no key ends the gateway's start, and is not shown."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.store.keys import StoreKeys
from tests.services.gateway.store.redis_server import KEY, OTHER_KEY


def test_the_first_key_is_for_writing_and_all_are_for_reading(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# new\n{OTHER_KEY}\n\n# old\n  {KEY}\n")
    keys = StoreKeys.of_file(str(tmp_path / "keys"))
    assert keys.for_writing == base64.b64decode(OTHER_KEY)
    assert list(keys) == [base64.b64decode(OTHER_KEY), base64.b64decode(KEY)]


@pytest.mark.parametrize("line", ["secret", "c2VjcmV0", KEY[:-4], f"{KEY} {KEY}", "sécrèt"])
def test_a_line_that_is_no_key_is_named_by_its_number_alone(tmp_path: Path, line: str) -> None:
    (tmp_path / "keys").write_text(f"{KEY}\n{line}\n")
    with pytest.raises(SettingError, match="MOSHI_GATEWAY_SESSION_STORE_KEY_FILE: .*keys, line 2: ") as error:
        StoreKeys.of_file(str(tmp_path / "keys"))
    assert line not in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"# none\n", b"\xff\xfe\x00"])
def test_a_file_without_keys_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    with pytest.raises(SettingError, match="MOSHI_GATEWAY_SESSION_STORE_KEY_FILE: "):
        StoreKeys.of_file(str(tmp_path / "keys"))
