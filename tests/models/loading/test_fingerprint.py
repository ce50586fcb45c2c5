"""Fingerprints see every byte, and read a file once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.models.loading import fingerprint as module
from moshi_cluster.models.loading.digest_cache import DigestCache
from moshi_cluster.models.loading.fingerprint import fingerprint

NO_CACHE = DigestCache(Path("relative"))  # one that keeps nothing


@given(place=st.integers(0, 299_999))
def test_one_changed_byte_anywhere_changes_it(place: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("file") / "weights"
    content = bytearray(300_000)
    path.write_bytes(content)
    before = fingerprint([], [path], NO_CACHE)
    content[place] ^= 0x80  # the sign of a weight
    path.write_bytes(content)
    assert fingerprint([], [path], NO_CACHE) != before


def test_the_order_of_a_large_files_pieces_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE_BYTES", 16)
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"a" * 16 + b"b" * 16 + b"c")
    other.write_bytes(b"b" * 16 + b"a" * 16 + b"c")
    assert fingerprint([], [one], NO_CACHE) != fingerprint([], [other], NO_CACHE)
    assert len(fingerprint([], [one], NO_CACHE)) == 16


class Hasher:
    """Counts how often a file is read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, path: Path) -> bytes:
        self.read.append(path.name)
        return path.read_bytes()[:4].ljust(4, b"\0")


def test_a_file_is_hashed_once_and_again_when_it_changed(tmp_path: Path) -> None:
    cache, hasher = DigestCache(tmp_path / "cache"), Hasher()
    path = tmp_path / "weights"
    path.write_bytes(b"1234")
    assert [cache.digest_of(path, hasher) for _ in range(3)] == [b"1234"] * 3
    assert hasher.read == ["weights"]
    path.write_bytes(b"4321")
    os.utime(path, ns=(1, 1))  # the clock of a file system may be coarse
    assert cache.digest_of(path, hasher) == b"4321"
    assert hasher.read == ["weights"] * 2


def test_a_link_and_its_target_share_one_entry(tmp_path: Path) -> None:
    cache, hasher = DigestCache(tmp_path / "cache"), Hasher()
    (tmp_path / "blob").write_bytes(b"1234")
    (tmp_path / "link").symlink_to("blob")
    assert cache.digest_of(tmp_path / "link", hasher) == cache.digest_of(tmp_path / "blob", hasher)
    assert hasher.read == ["blob"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"digest": 5}', b'{"digest": "zz"}', b"\xff"])
def test_an_entry_that_is_no_entry_is_made_anew(content: bytes, tmp_path: Path) -> None:
    cache, hasher = DigestCache(tmp_path / "cache"), Hasher()
    path = tmp_path / "weights"
    path.write_bytes(b"1234")
    cache.digest_of(path, hasher)
    (entry,) = cache.folder.iterdir()
    entry.write_bytes(content)
    assert cache.digest_of(path, hasher) == b"1234"
    assert cache.digest_of(path, hasher) == b"1234"
    assert hasher.read == ["weights"] * 2


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache, hasher = DigestCache(tmp_path / "file" / "cache"), Hasher()
    assert cache.digest_of(tmp_path / "file", hasher) == b"\0" * 4
    assert cache.digest_of(tmp_path / "file", hasher) == b"\0" * 4
    assert len(hasher.read) == 2
