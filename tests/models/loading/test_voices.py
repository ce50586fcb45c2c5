"""Voices are read from a folder or an archive, and whatever else is there is named."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.loading.errors import CheckpointError
from moshi_cluster.models.loading.voices import find_voices, load_voices
from tests.models.loading.fake_hub import FakeHub
from tests.models.moshi_lm.personas import golden_folder, golden_voices, persona_lm

CONFIG = persona_lm().config
CACHE = torch.zeros(1, 17, 4, dtype=torch.int64)


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def no_recordings(content: bytes) -> Tensor:
    raise AssertionError("there are none")


def voice_file() -> bytes:
    return (golden_folder() / "VOICE0.pt").read_bytes()


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_a_folder_and_an_archive_give_the_same_voices(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "voices"
    folder.mkdir()
    (folder / "VOICE0.pt").write_bytes(voice_file())
    (folder / "notes.txt").write_bytes(b"hello")
    (folder / ".hidden").write_bytes(b"")
    packed = archive(tmp_path / "voices.tgz", {"voices/VOICE0.pt": voice_file(), "voices/notes.txt": b"hello"})
    expected = golden_voices()["file"]
    for path in (folder, packed):
        voices = load_voices(path, CONFIG, no_recordings)
        assert list(voices) == ["VOICE0"]
        assert torch.equal(voices["VOICE0"].frames, expected.frames)
        assert expected.embeddings is not None and voices["VOICE0"].embeddings is not None
        assert torch.equal(voices["VOICE0"].embeddings, expected.embeddings)
    assert [message for message in caplog.messages if "notes.txt is no voice" in message] == caplog.messages


class _Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (exec, ("raise SystemExit('code of the file ran')",))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a voice"),
        (b"PK\x03\x04 and more", "not a voice"),
        (pickle.dumps(_Evil()), "not a voice"),
        (saved({"embeddings": torch.zeros(3, 1, 1, 64)}), "not a voice: 'cache'"),
        (
            saved({"embeddings": torch.zeros(3, 1, 1, 32), "cache": torch.zeros(1, 17, 4).long()}),
            "embeddings: expected",
        ),
        (
            saved({"embeddings": torch.zeros(0, 1, 1, 64), "cache": torch.zeros(1, 17, 4).long()}),
            "embeddings: expected",
        ),
        (saved({"embeddings": torch.zeros(3, 1, 1, 64), "cache": torch.zeros(1, 17, 4)}), "cache: expected integers"),
        (saved({"embeddings": torch.zeros(3, 1, 1, 64), "cache": torch.full((1, 17, 4), 97)}), "cache: tokens beyond"),
        (saved({"embeddings": [1], "cache": torch.zeros(1, 17, 4).long()}), "embeddings: expected .* found list"),
        (
            saved({"embeddings": torch.full((3, 1, 1, 64), torch.nan), "cache": torch.zeros(1, 17, 4).long()}),
            "embeddings: expected",
        ),
    ],
)
def test_what_is_no_voice_is_named_and_none_of_its_code_runs(content: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "BAD.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"BAD\.pt: {complaint}"):
        load_voices(tmp_path, CONFIG, no_recordings)


def test_an_archive_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "voices.tgz").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=r"voices\.tgz: not a readable archive of voices"):
        load_voices(tmp_path / "voices.tgz", CONFIG, no_recordings)


def test_two_voices_of_one_name_are_named(tmp_path: Path) -> None:
    packed = archive(tmp_path / "voices.tgz", {"a/V.pt": voice_file(), "b/V.pt": voice_file()})
    with pytest.raises(CheckpointError, match="two voices are called V"):
        load_voices(packed, CONFIG, no_recordings)


def test_voices_are_found_beside_the_checkpoint_or_where_one_says(tmp_path: Path, hub: FakeHub) -> None:
    assert find_voices(str(tmp_path), None) is None
    packed = archive(tmp_path / "voices.tgz", {})
    assert find_voices(str(tmp_path), None) == packed
    (tmp_path / "voices").mkdir()
    assert find_voices(str(tmp_path), None) == tmp_path / "voices"
    assert find_voices(None, str(tmp_path)) == tmp_path
    hub.repositories["o/n"] = tmp_path
    assert find_voices("o/n", None) == packed
    assert find_voices(None, None) is None
