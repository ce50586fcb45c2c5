"""Frames as Triton's tensors, for each of the two programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from tritonclient.grpc import InferInput, InferResult

from moshi_cluster.services.codec.triton.contract import CODES, PCM, STEP, MimiParameters


@dataclass(frozen=True)
class StepAccount:
    """The step that took a frame, as the model tells it."""

    number: int
    step_s: float
    batch_size: int


class Frames(Protocol):
    """How a program's frames travel. Reading raises ValueError for an answer that is none."""

    @property
    def blank(self) -> Any:
        """A frame that ends a sequence."""

    def write(self, frame: Any) -> InferInput:
        """The input tensor of a frame."""

    def read(self, result: InferResult) -> Any:
        """The frame's other side."""


class EncodeFrames:
    """PCM (bytes of float32) to codes (list of int)."""

    def __init__(self, parameters: MimiParameters) -> None:
        self._samples, self._codebooks = parameters.frame_samples, parameters.codebooks
        self.blank = bytes(4 * self._samples)

    def write(self, frame: bytes) -> InferInput:
        """[1, samples]."""
        return _input(PCM, "FP32", np.frombuffer(frame, "<f4"))

    def read(self, result: InferResult) -> list[int]:
        """[codebooks]."""
        codes: list[int] = _output(result, CODES, self._codebooks).tolist()
        return codes


class DecodeFrames:
    """Codes (list of int) to PCM (bytes of float32)."""

    def __init__(self, parameters: MimiParameters) -> None:
        self._samples, self._codebooks = parameters.frame_samples, parameters.codebooks
        self.blank = [0] * self._codebooks

    def write(self, frame: list[int]) -> InferInput:
        """[1, codebooks]."""
        return _input(CODES, "INT32", np.array(frame, "<i4"))

    def read(self, result: InferResult) -> bytes:
        """The samples' bytes."""
        return _output(result, PCM, self._samples).astype("<f4", copy=False).tobytes()


def read_account(result: InferResult) -> StepAccount:
    """Raises ValueError for an answer without one."""
    number, step_us, batch_size = _output(result, STEP, 3).tolist()
    return StepAccount(number, step_us / 1e6, batch_size)


def _input(name: str, data_type: str, values: np.ndarray[Any, Any]) -> InferInput:
    tensor = InferInput(name, [1, len(values)], data_type)
    tensor.set_data_from_numpy(values[None])
    return tensor


def _output(result: InferResult, name: str, length: int) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] | None = result.as_numpy(name)
    if values is None or values.shape != (1, length):
        raise ValueError(f"an answer has no {name} of the right length")
    row: np.ndarray[Any, Any] = values[0]
    return row
