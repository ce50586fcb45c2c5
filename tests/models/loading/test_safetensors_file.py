"""Reading safetensors files, whole and broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from moshi_cluster.models.loading.errors import CheckpointError, MissingTensorError
from moshi_cluster.models.loading.safetensors_file import SafetensorsFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.arange(6, dtype=torch.float32).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}, path)
    return path


def test_a_file_is_a_mapping_of_its_tensors(path: Path) -> None:
    tensors = SafetensorsFile(path)
    assert sorted(tensors) == ["a", "b"] and len(tensors) == 2
    assert torch.equal(tensors["a"], torch.arange(6.0).reshape(2, 3))
    assert tensors["b"].dtype == torch.bfloat16
    assert "a" in tensors and "c" not in tensors
    assert tensors.get("c") is None


def test_every_tensor_is_counted_when_it_is_first_read(path: Path) -> None:
    read_bytes: list[int] = []
    tensors = SafetensorsFile(path, read_bytes.append)
    assert read_bytes == []
    _ = dict(tensors), tensors["a"]
    assert sum(read_bytes) == 6 * 4 + 4 * 2


def test_a_missing_tensor_is_named_with_its_file(path: Path) -> None:
    tensors = SafetensorsFile(path)
    with pytest.raises(MissingTensorError) as raised:
        tensors["emb.0.weight"]
    assert str(raised.value) == f"{path}: no tensor emb.0.weight"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.safetensors: no such file"):
        SafetensorsFile(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("kept_bytes", [0, 7, 40, 130, -1])
def test_a_download_that_stopped_half_way_is_named(kept_bytes: int, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: truncated"):
        SafetensorsFile(path)


def test_another_kind_of_file_is_named(path: Path) -> None:
    path.write_bytes(b"GGUF" + bytes(1000))
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: not a safetensors file"):
        SafetensorsFile(path)


@pytest.mark.parametrize("header", [b"{]", b"[1]", b'{"a": 1}', b'{"a": {"data_offsets": [0]}}'])
def test_a_header_of_nonsense_is_named(header: bytes, path: Path) -> None:
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: not a safetensors file"):
        SafetensorsFile(path)
