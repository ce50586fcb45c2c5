"""A small server that speaks Triton's protocol, with Triton's words: the deterministic twin of one that runs Mimi.

`test_recorded.py` holds it against what a real server was recorded to do.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from moshi_cluster.services.codec.triton.contract import CODES, PCM, PROGRAMS, STEP, MimiParameters, tensors

FINGERPRINT = "0123456789abcdef"
FRAME_SAMPLES, CODEBOOKS, BINS, SLOTS = 1920, 8, 64, 3
_TYPES = {PCM: ("FP32", "<f4"), CODES: ("INT32", "<i4"), STEP: ("INT64", "<i8")}
Answer = Callable[[int, np.ndarray[Any, Any]], np.ndarray[Any, Any]]  # (frames of this sequence before, frame)


def codes_of(index: int, pcm: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """As FakeCodec: the frame's place and its first sample."""
    return np.array([index % BINS, int(pcm[0]), *[0] * (CODEBOOKS - 2)], "<i4")


def pcm_of(index: int, codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """As FakeCodec: a frame full of the first code."""
    return np.full(FRAME_SAMPLES, codes[0], "<f4")


@dataclass
class FakeModel:
    """A model behind a name. A test changes what it likes."""

    name: str
    parameters: MimiParameters | None
    """None: a model of another kind."""
    answer: Answer
    ready: bool = True
    sequences: dict[int, int] = field(default_factory=dict)  # frames run, by correlation id
    seen: list[tuple[int, bool, bool]] = field(default_factory=list)  # (frames before, START, END) of each request
    requests: int = 0
    trials: int = 0
    broken: bool = False
    """Its process has died: Triton calls it ready and answers nothing."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: frames wait."""

    def __post_init__(self) -> None:
        self.gate.set()

    def config(self) -> Any:
        config = model_config_pb2.ModelConfig(name=self.name, max_batch_size=8)
        if self.parameters is None:
            return config
        inputs, outputs = tensors(self.parameters)
        for shapes, entries in ((inputs, config.input), (outputs, config.output)):
            for name, dims in shapes.items():
                entries.add(name=name, dims=dims, data_type=f"TYPE_{_TYPES[name][0]}")
        config.sequence_batching.direct.max_queue_delay_microseconds = 0
        for key, value in self.parameters.as_strings().items():
            config.parameters[key].string_value = value
        return config

    def forget(self) -> None:
        """What Triton does with sequences that were idle for too long."""
        self.sequences.clear()


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Two models and the rpcs that the codec uses."""

    def __init__(self, name: str = "mimi", **changes: Any) -> None:
        answers = {"encode": codes_of, "decode": pcm_of}
        self.models: dict[str, FakeModel] = {}
        for program in PROGRAMS:
            given = {"fingerprint": FINGERPRINT, "frame_samples": FRAME_SAMPLES, "codebooks": CODEBOOKS, "bins": BINS}
            parameters = MimiParameters(**{"program": program, "slots": SLOTS, **given, **changes})
            model = FakeModel(f"{name}_{program}", parameters, answers[program])
            self.models[model.name] = model
        self.encode, self.decode = self.models.values()
        self.answers_looks = asyncio.Event()
        """Cleared: it is silent, as one that was stopped."""
        self.answers_looks.set()
        self._steps = itertools.count(1)

    def let_all(self) -> None:
        """Everything is answered again."""
        self.answers_looks.set()
        for model in self.models.values():
            model.gate.set()

    async def ModelReady(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        await self.answers_looks.wait()
        model = self.models.get(request.name)
        return service_pb2.ModelReadyResponse(ready=model is not None and model.ready)

    async def ModelConfig(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        if (model := self.models.get(request.name)) is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, unknown(request.name))
        return service_pb2.ModelConfigResponse(config=model.config())

    async def ModelStatistics(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        model = self.models[request.name]
        response = service_pb2.ModelStatisticsResponse()
        stats = response.model_stats.add(name=model.name, version="1").inference_stats
        stats.success.count, stats.queue.ns = model.requests, 1_000_000 * model.requests
        stats.compute_infer.ns = 4_000_000 * model.requests
        return response

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[Any], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        async for request in request_iterator:
            yield await self._answer(request)

    async def _answer(self, request: Any) -> Any:
        if (model := self.models.get(request.model_name)) is None or not model.ready:
            text = unknown(request.model_name) if model is None else unready(request.model_name)
            return refusal(request, text)
        corrid, start, end = (request.parameters[f"sequence_{part}"] for part in ("id", "start", "end"))
        if (problem := misshapen(model, request.inputs[0])) is not None:
            return refusal(request, problem)
        if start.bool_param:
            model.sequences[corrid.int64_param] = 0
        elif corrid.int64_param not in model.sequences:
            return refusal(request, startless(corrid.int64_param, model.name))
        index = model.sequences[corrid.int64_param]
        if model.broken:
            return refusal(request, f"Failed to process the request(s) for model '{model.name}_0_0'")
        if start.bool_param and end.bool_param:  # a trial, which no caller has sent
            model.trials += 1
            del model.sequences[corrid.int64_param]
            return self._response(model, request, index)
        model.seen.append((index, start.bool_param, end.bool_param))
        await model.gate.wait()
        model.sequences[corrid.int64_param] = index + 1
        if end.bool_param:
            del model.sequences[corrid.int64_param]
        model.requests += 1
        return self._response(model, request, index)

    def _response(self, model: FakeModel, request: Any, index: int) -> Any:
        assert model.parameters is not None
        taken, given = tensors(model.parameters)
        (name,) = taken
        frame = np.frombuffer(request.raw_input_contents[0], _TYPES[name][1])
        value_name = next(iter(given))
        values = {value_name: model.answer(index, frame), STEP: np.array([next(self._steps), 4000, 1])}
        response = service_pb2.ModelInferResponse(model_name=model.name, model_version="1", id=request.id)
        for output, value in values.items():
            data_type, numpy_type = _TYPES[output]
            response.outputs.add(name=output, datatype=data_type, shape=[1, len(value)])
            response.raw_output_contents.append(value.astype(numpy_type).tobytes())
        return service_pb2.ModelStreamInferResponse(infer_response=response)


def refusal(request: Any, text: str) -> Any:
    """An answer that refuses, on a stream that goes on."""
    response = service_pb2.ModelInferResponse(id=request.id)
    return service_pb2.ModelStreamInferResponse(error_message=text, infer_response=response)


def unknown(name: str) -> str:
    return f"Request for unknown model: '{name}' is not found"


def unready(name: str) -> str:
    return f"Request for unknown model: '{name}' has no available versions"


def startless(correlation_id: int, name: str) -> str:
    return (
        f"inference request for sequence {correlation_id} to model '{name}' must specify the START flag on the first "
        "request of the sequence"
    )


def misshapen(model: FakeModel, given: Any) -> str | None:
    assert model.parameters is not None
    ((name, dims),) = tensors(model.parameters)[0].items()
    if tuple(given.shape[1:]) == dims:
        return None
    expected = ",".join(map(str, (-1, *dims)))
    got = ",".join(map(str, given.shape))
    return f"unexpected shape for input '{name}' for model '{model.name}'. Expected [{expected}], got [{got}]."


@asynccontextmanager
async def listening(triton: FakeTriton, port: int = 0) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    """The server on loopback and its port; it dies at once with the context."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield server, port
    finally:
        await server.stop(None)
