"""What runs in Triton, without Triton: the backend's module stands for itself, the requests are made here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.models.loading import Part, resolve
from moshi_cluster.models.loading.mimi import load_mimi
from moshi_cluster.services.codec.triton.contract import MimiParameters
from moshi_cluster.tools.triton_config import RepositoryOptions
from moshi_cluster.tools.triton_repository import write_repository

SLOTS = 2
OPTIONS = RepositoryOptions(slots=SLOTS, max_batch=8, idle_timeout_s=0.0)


class BackendTensor:
    """pb_utils.Tensor, as far as it is used."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def to_dlpack(self) -> Any:
        return self.tensor.__dlpack__()

    @classmethod
    def from_dlpack(cls, name: str, capsule: Any) -> tuple[str, Tensor]:
        return name, from_dlpack(capsule)


class TritonError(Exception):
    """pb_utils.TritonError."""


@dataclass
class Response:
    """pb_utils.InferenceResponse."""

    outputs: list[tuple[str, Tensor]]
    error: TritonError | None = None

    def __getitem__(self, name: str) -> Tensor:
        return dict(self.outputs)[name]


@dataclass
class Request:
    """A request of a sequence; `values` is the frame."""

    corrid: int
    values: Tensor
    start: bool = False
    end: bool = False
    ready: bool = True
    inputs: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        flags = {"START": self.start, "END": self.end, "READY": self.ready}
        self.inputs = {name: torch.tensor([[flag]], dtype=torch.int32) for name, flag in flags.items()}
        self.inputs["CORRID"] = torch.tensor([[self.corrid]], dtype=torch.int64)
        self.inputs["PCM" if self.values.is_floating_point() else "CODES"] = self.values[None]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_repository(resolve(str(DEFAULT_CHECKPOINT), parts=Part.MIMI), OPTIONS, folder)
    return folder


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module that Triton's backend gives its models."""
    module = ModuleType("triton_python_backend_utils")
    module.Tensor = BackendTensor  # type: ignore[attr-defined]
    module.InferenceResponse = Response  # type: ignore[attr-defined]
    module.TritonError = TritonError  # type: ignore[attr-defined]
    module.get_input_tensor_by_name = lambda request, name: BackendTensor(request.inputs[name])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)
    yield
    sys.modules.pop("moshi_cluster.services.codec.triton.python_model", None)


def model_of(repository: Path, program: str, **changes: str) -> Any:
    """The model as Triton makes it."""
    from moshi_cluster.services.codec.triton.python_model import TritonPythonModel

    checkpoint = resolve(str(DEFAULT_CHECKPOINT), parts=Part.MIMI)
    parameters = MimiParameters(program, checkpoint.fingerprint, 1920, 8, 256, SLOTS).as_strings()
    strings = parameters | {"threads": "1", "sequences": str(SLOTS)} | changes
    config = {
        "max_batch_size": 8,
        "parameters": {key: {"string_value": value} for key, value in strings.items()},
        "sequence_batching": {"max_sequence_idle_microseconds": "0"},
    }
    model = TritonPythonModel()
    model.initialize(
        {
            "model_config": json.dumps(config),
            "model_repository": str(repository / f"mimi_{program}"),
            "model_version": "1",
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
        }
    )
    return model


@pytest.mark.usefixtures("backend")
def test_codes_and_samples_are_those_of_the_other_backend(repository: Path) -> None:
    mimi = load_mimi(resolve(str(DEFAULT_CHECKPOINT), parts=Part.MIMI))
    encoder, decoder = mimi.encoder(2), mimi.decoder(2)
    encode, decode = model_of(repository, "encode"), model_of(repository, "decode")
    generator = torch.Generator().manual_seed(1)
    for index in range(4):
        pcm = 0.2 * torch.randn(2, 1920, generator=generator)
        expected = encoder.step([0, 1], pcm)
        replies = encode.execute([Request(corrid, pcm[corrid], start=not index) for corrid in (1, 0)])[::-1]
        assert torch.equal(torch.cat([reply["CODES"] for reply in replies]), expected.int())
        assert replies[0]["STEP"][0, [0, 2]].tolist() == [index + 1, 2]
        heard = decode.execute([Request(row, codes.int(), start=not index) for row, codes in enumerate(expected)])
        assert torch.equal(torch.cat([reply["PCM"] for reply in heard]), decoder.step([0, 1], expected))


@pytest.mark.usefixtures("backend")
def test_a_sequence_that_begins_finds_a_slot_as_good_as_new(repository: Path) -> None:
    encode = model_of(repository, "encode")
    noise = 0.2 * torch.randn(1920, generator=torch.Generator().manual_seed(1))
    (first,) = encode.execute([Request(7, noise, start=True)])
    (second,) = encode.execute([Request(7, noise, end=True)])
    assert not torch.equal(first["CODES"], second["CODES"])
    (again,) = encode.execute([Request(8, noise, start=True)])
    assert torch.equal(first["CODES"], again["CODES"])


@pytest.mark.usefixtures("backend")
def test_what_cannot_be_served_is_refused_alone(repository: Path) -> None:
    encode = model_of(repository, "encode", sequences="1")
    silence = torch.zeros(1920)
    known, unknown, null = encode.execute(
        [Request(1, silence, start=True), Request(2, silence), Request(0, silence, ready=False)]
    )
    assert known.error is None and known["CODES"].shape == (1, 8)
    assert "is not known" in str(unknown.error)
    assert null.error is None and null.outputs == []


@pytest.mark.usefixtures("backend")
def test_weights_that_are_not_those_of_the_configuration_are_refused(repository: Path) -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        model_of(repository, "encode", moshi_fingerprint="f" * 16)
