"""A folder is there whole or as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from moshi_cluster.tools.whole_folder import whole_folder


def test_a_folder_appears_with_its_parents_when_it_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "where"
    with whole_folder(folder) as new:
        (new / "file").write_text("content")
        assert not folder.exists()
    assert [path.name for path in folder.iterdir()] == ["file"]
    assert list(folder.parent.iterdir()) == [folder]


def test_what_was_there_is_replaced_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    with whole_folder(tmp_path / "folder") as new:
        (new / "new").touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["new"]


def test_what_fails_half_way_leaves_everything_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    with pytest.raises(FileNotFoundError), whole_folder(tmp_path / "folder") as new:
        (new / "no such folder" / "file").touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
