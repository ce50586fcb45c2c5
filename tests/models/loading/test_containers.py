"""Which kind of file it is, by its first bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from moshi_cluster.models.loading.containers import open_tensors
from moshi_cluster.models.loading.errors import CheckpointError, MissingFileError
from moshi_cluster.models.loading.gguf import GgufFile
from moshi_cluster.models.loading.safetensors_file import SafetensorsFile
from tests.models.loading.layout_files import write_layout


def test_the_name_of_a_file_does_not_matter(tmp_path: Path) -> None:
    gguf = write_layout("candle-q8", tmp_path / "a").rename(tmp_path / "model.safetensors")
    safetensors = write_layout("mlx-q4", tmp_path / "b").rename(tmp_path / "model.gguf")
    assert isinstance(open_tensors(gguf), GgufFile)
    assert isinstance(open_tensors(safetensors), SafetensorsFile)


@pytest.mark.parametrize(
    ("beginning", "complaint"),
    [
        (b"PK\x03\x04\x00", "a pickle"),
        (b"\x80\x02}q\x00X\x05", "a pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"RIFF", "not a safetensors file"),
        (b"", "truncated, 0 of 8 bytes"),
    ],
)
def test_what_people_have_by_mistake_is_told(beginning: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(beginning + bytes(64) * bool(beginning))
    with pytest.raises(CheckpointError, match=f"weights: {complaint}"):
        open_tensors(path)
    with pytest.raises(MissingFileError):
        open_tensors(tmp_path / "absent")
