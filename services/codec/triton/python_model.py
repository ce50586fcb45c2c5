"""Mimi as a model of Triton's Python backend: runs inside Triton, one process per model instance.

`model.py` of the repository that `tools.triton_repository` writes imports the class below.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as pb_utils
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from moshi_cluster.models.loading import Part, resolve
from moshi_cluster.models.loading.mimi import load_mimi
from moshi_cluster.services.codec.engine import programs
from moshi_cluster.services.codec.triton.contract import CODES, CORRID, END, PCM, READY, START, STEP, MimiParameters
from moshi_cluster.services.codec.triton.sequence_slots import SequenceSlots
from moshi_cluster.services.common.errors import NoFreeSlot
from moshi_cluster.services.common.worker.program import uses_static_step

_MICROSECONDS = 1e6


@dataclass(frozen=True)
class _Row:
    """A request with a slot: what a step takes of it."""

    request: Any
    slot: int
    frame: Any
    correlation_id: int
    ends: bool


class TritonPythonModel:
    """One instance of mimi_encode or mimi_decode: slots by correlation id, a step per batch of requests."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Loads Mimi from the version's folder and warms every batch size. Raises CheckpointError, ValueError."""
        config = json.loads(args["model_config"])
        given = {name: value["string_value"] for name, value in config["parameters"].items()}
        parameters = MimiParameters.from_strings(given)
        torch.set_num_threads(int(given["threads"]))
        device = _device(args)
        folder = Path(args["model_repository"]) / args["model_version"]
        checkpoint = resolve(str(folder), parts=Part.MIMI)
        if checkpoint.fingerprint != parameters.fingerprint:
            raise ValueError(f"the files have the fingerprint {checkpoint.fingerprint}, not {parameters.fingerprint}")
        batching = config["sequence_batching"]
        self._encodes = parameters.program == "encode"
        held = int(given["sequences"])
        built = programs(
            load_mimi(checkpoint, device), held, config["max_batch_size"], static_step=uses_static_step("auto", device)
        )
        program = next(each for each in built if each.name == parameters.program)
        program.runner.warm(program.max_batch)
        self._runner = program.runner
        idle_s = int(batching["max_sequence_idle_microseconds"]) / _MICROSECONDS
        self._slots = SequenceSlots(program.table, idle_s, program.runner.close, time.monotonic)
        self._steps = 0

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One step for all of the requests, which are of different sequences."""
        answers: dict[int, Any] = {}
        rows = []
        for request in requests:
            try:
                if (row := self._row(request)) is not None:
                    rows.append(row)
                else:
                    answers[id(request)] = pb_utils.InferenceResponse([])
            except (NoFreeSlot, KeyError) as error:
                answers[id(request)] = _refusal(error)
        answers |= self._step(rows)
        for row in rows:
            if row.ends:
                self._slots.end(row.correlation_id)
        return [answers[id(request)] for request in requests]

    def _row(self, request: Any) -> _Row | None:
        """None for a place of a direct batch that no sequence holds. Raises NoFreeSlot, KeyError."""
        if not _control(request, READY):
            return None
        correlation_id = _control(request, CORRID)
        starts = _control(request, START)
        slot = self._slots.start(correlation_id) if starts else self._slots.of(correlation_id)
        return _Row(request, slot, self._frame(request), correlation_id, bool(_control(request, END)))

    def _frame(self, request: Any) -> Any:
        tensor = _input(request, PCM if self._encodes else CODES)
        return tensor.numpy().tobytes() if self._encodes else tensor.tolist()

    def _step(self, rows: Sequence[_Row]) -> dict[int, Any]:
        if not rows:
            return {}
        rows = sorted(rows, key=lambda row: row.slot)
        start_s = time.monotonic()
        values = self._runner.step([row.slot for row in rows], [row.frame for row in rows])
        step_us = round((time.monotonic() - start_s) * _MICROSECONDS)
        self._steps += 1
        account = torch.tensor([[self._steps, step_us, len(rows)]])
        return {id(row.request): self._answer(value, account) for row, value in zip(rows, values, strict=True)}

    def _answer(self, value: Any, account: Tensor) -> Any:
        if self._encodes:
            output = _output(CODES, torch.tensor([value], dtype=torch.int32))
        else:
            output = _output(PCM, torch.frombuffer(bytearray(value), dtype=torch.float32)[None])
        return pb_utils.InferenceResponse([output, _output(STEP, account)])


def _device(args: Mapping[str, str]) -> str:
    return f"cuda:{args['model_instance_device_id']}" if args["model_instance_kind"] == "GPU" else "cpu"


def _refusal(error: Exception) -> Any:
    text = str(error) if isinstance(error, NoFreeSlot) else "the sequence is not known, or was idle for too long"
    return pb_utils.InferenceResponse([], pb_utils.TritonError(text))


def _control(request: Any, name: str) -> int:
    return int(_input(request, name)[0])


def _input(request: Any, name: str) -> Tensor:
    """A row without the axis of the batch, by DLPack, which minds no version of numpy."""
    tensor: Tensor = from_dlpack(pb_utils.get_input_tensor_by_name(request, name).to_dlpack())
    return tensor[0]


def _output(name: str, tensor: Tensor) -> Any:
    return pb_utils.Tensor.from_dlpack(name, tensor.__dlpack__())
