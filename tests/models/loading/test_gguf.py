"""GGUF files: what is published, and what somebody might send instead."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

from moshi_cluster.models.layers.quantised import QuantisedMatrix
from moshi_cluster.models.loading.errors import CheckpointError, MissingTensorError
from moshi_cluster.models.loading.gguf import GgufFile
from moshi_cluster.tools.gguf import gguf

F32, F16, Q8_0 = 0, 1, 8


def written(path: Path, body: bytes, tensors: int = 1, values: int = 0, version: int = 2) -> Path:
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, tensors, values) + body)
    return path


def entry(name: str, shape: tuple[int, ...], kind: int, begin: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], kind, begin)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def aligned(header: bytes, data: bytes, beyond: int = 24, alignment: int = 32) -> bytes:
    return header + bytes(-(beyond + len(header)) % alignment) + data


def test_floats_and_quantised_matrices_come_back(tmp_path: Path) -> None:
    matrix, norm, odd = torch.randn(3, 64), torch.randn(1, 1, 8), torch.randn(3, 5)
    (tmp_path / "file").write_bytes(gguf({"matrix": matrix, "norm": norm, "odd": odd}))
    read: list[int] = []
    file = GgufFile(tmp_path / "file", read.append)
    assert list(file) == ["matrix", "norm", "odd"] and len(file) == 3 and "matrix" in file
    found = file["matrix"]
    assert isinstance(found, QuantisedMatrix) and (found.group, found.shape) == (32, (3, 64))
    # Half a step, and what float16 rounds of a scale, 127 times at most.
    assert (found.dense() - matrix).abs().max() <= (0.5 + 127 / 2**11) * matrix.abs().max() / 127
    assert torch.equal(file["norm"], norm) and torch.equal(file["odd"], odd)  # type: ignore[arg-type]
    assert file.entries["matrix"].stored_type == "Q8_0"
    assert read == [3 * 2 * 34, 8 * 4, 15 * 4]
    with pytest.raises(MissingTensorError, match="file: no tensor other"):
        _ = file["other"]


def test_half_precision_version_3_and_metadata_are_understood(tmp_path: Path) -> None:
    metadata = text("general.name") + struct.pack("<I", 8) + text("moshi")
    metadata += text("sizes") + struct.pack("<IIQ", 9, 4, 3) + bytes(12)
    metadata += text("words") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    metadata += text("general.alignment") + struct.pack("<II", 4, 64)
    values = torch.arange(4, dtype=torch.float16)
    header = metadata + entry("x", (4,), F16)
    body = aligned(header, values.numpy().tobytes(), alignment=64)
    file = GgufFile(written(tmp_path / "file", body, values=4, version=3))
    assert torch.equal(file["x"], values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "counts", "complaint"),
    [
        (aligned(entry("x", (2, 32), Q8_0), bytes(67)), {}, "truncated, tensor x ends at byte"),
        (entry("x", (2, 33), Q8_0), {}, r"tensor x: Q8_0 of shape \[2, 33\]"),
        (entry("x", (1 << 62, 32), F32), {}, "tensor x: impossible shape"),
        (entry("x", (0,), F32), {}, "tensor x: impossible shape"),
        (entry("x", (1,) * 5, F32), {}, "tensor x: 5 dimensions"),
        (entry("x", (32,), 12), {}, "tensor x: ggml type 12 is not supported, only F32, F16, Q8_0, BF16"),
        (entry("x", (1,), F32, 1 << 63), {}, "truncated, tensor x"),
        (entry("x", (1,), F32) * 2, {"tensors": 2}, "tensor x is there twice"),
        (struct.pack("<Q", 1 << 40), {}, "a name of 1099511627776 bytes"),
        (b"", {}, "truncated, the header ends after the file"),
        (b"", {"tensors": 1 << 40}, "1099511627776 tensors"),
        (b"", {"values": 1 << 40}, "1099511627776 values"),
        (text("k") + struct.pack("<IIQ", 9, 8, 1 << 60), {"values": 1}, "truncated, the header ends after the file"),
        (text("k") + struct.pack("<II", 9, 9) * 9, {"values": 1}, "metadata of unknown type 9|truncated"),
        (text("k") + struct.pack("<I", 99), {"values": 1}, "metadata of unknown type 99"),
        (text("general.alignment") + struct.pack("<II", 4, 0), {"values": 1}, "general.alignment is 0"),
        (b"", {"version": 1}, "GGUF version 1"),
    ],
)
def test_a_hostile_file_is_refused_by_name(body: bytes, counts: dict[str, int], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"file: .*({complaint})"):
        GgufFile(written(tmp_path / "file", body, **counts))


def test_values_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(gguf({"good": torch.ones(1, 32), "bad": torch.full((4,), float("nan"))}))
    file = GgufFile(tmp_path / "file")
    assert isinstance(file["good"], QuantisedMatrix)
    with pytest.raises(CheckpointError, match="file: tensor bad: values that are not finite"):
        _ = file["bad"]
