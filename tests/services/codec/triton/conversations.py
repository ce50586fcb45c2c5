"""Conversations with a Triton that has the demo model: what is asked, and what of the answers the codec relies on.

    python -m tests.services.codec.triton.conversations HOST:PORT > tests/services/codec/triton/recorded.json

records a real one, whose models were made with `--idle-timeout-s 1`. Values of frames are left out: they are the
model's, not Triton's.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

ENCODE, NO_MODEL = "mimi_encode", "nobody"
FRAME_SAMPLES = 1920
_IDLE_S = 3.0
_PATIENCE_S = 60.0

Pause = Callable[[], Awaitable[None]]


def request(
    sequence: int, start: bool = False, end: bool = False, model: str = ENCODE, samples: int = FRAME_SAMPLES
) -> Any:
    """A frame of silence, as tritonclient writes it."""
    message = service_pb2.ModelInferRequest(model_name=model, id="")
    message.inputs.add(name="PCM", datatype="FP32", shape=[1, samples])
    message.raw_input_contents.append(np.zeros(samples, "<f4").tobytes())
    message.parameters["sequence_id"].int64_param = sequence
    message.parameters["sequence_start"].bool_param = start
    message.parameters["sequence_end"].bool_param = end
    return message


STREAMS: dict[str, Sequence[Any]] = {
    "a sequence": [request(1, start=True), request(1), request(1, end=True)],
    "one frame": [request(2, start=True, end=True)],
    "begun again": [request(3, start=True), request(3, start=True), request(3, end=True)],
    "without a start": [request(4)],
    "after its end": [request(5, start=True, end=True), request(5)],
    "no such model": [request(6, start=True, model=NO_MODEL)],
    "of another shape": [request(7, start=True, samples=960)],
    "refused, then begun": [request(8), request(8, start=True), request(8, end=True)],
}


async def converse(channel: grpc.aio.Channel, pause: Pause) -> dict[str, Any]:
    """Everything that is asked, and what came of it. pause: lets a sequence be idle for too long."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    record = {name: await _stream(stub, requests) for name, requests in STREAMS.items()}
    record["idle for too long"] = await _stream(stub, [request(9, start=True), request(9)], pause)
    for model in (ENCODE, NO_MODEL):
        record[f"ready {model}"] = (await stub.ModelReady(service_pb2.ModelReadyRequest(name=model))).ready
        record[f"config {model}"] = await _config(stub, model)
    record["statistics"] = await _statistics(stub)
    return record


async def _stream(stub: Any, requests: Sequence[Any], pause: Pause | None = None) -> list[Any]:
    """Answers in order, and the status once everything is said. Each frame leaves when the one before is answered."""
    call = stub.ModelStreamInfer()
    answers: list[Any] = []
    async with asyncio.timeout(_PATIENCE_S):
        for index, message in enumerate(requests):
            if index and pause is not None:
                await pause()
            await call.write(message)
            answers.append(_answer(await call.read()))
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        return [*answers, (await call.code()).name]


def _answer(response: Any) -> Any:
    if response.error_message:
        return _text(response.error_message)
    outputs = response.infer_response.outputs
    return {output.name: f"{output.datatype} {list(output.shape)}" for output in outputs}


def _text(text: str) -> str:
    """Without Triton's own name for a request in front and its advice behind."""
    return re.sub(r"^\[request id[^\]]*\] ", "", text).partition(" NOTE: ")[0]


async def _config(stub: Any, model: str) -> Any:
    try:
        config = (await stub.ModelConfig(service_pb2.ModelConfigRequest(name=model))).config
    except grpc.aio.AioRpcError as error:
        return [error.code().name, _text(error.details() or "")]
    return {
        "input": {each.name: list(each.dims) for each in config.input},
        "output": {each.name: list(each.dims) for each in config.output},
        "sequence_batching": config.HasField("sequence_batching"),
        "parameters": sorted(key for key in config.parameters if key.startswith("moshi_")),
    }


async def _statistics(stub: Any) -> dict[str, bool]:
    """What of the statistics has grown by a sequence of three frames."""
    before = await _counts(stub)
    await _stream(stub, STREAMS["a sequence"])
    after = await _counts(stub)
    return {name: after[name] > before[name] for name in before}


async def _counts(stub: Any) -> dict[str, int]:
    (model,) = (await stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name=ENCODE))).model_stats
    stats = model.inference_stats
    return {"success": stats.success.count, "queue": stats.queue.ns, "compute_infer": stats.compute_infer.ns}


async def _main(target: str) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        record = await converse(channel, lambda: asyncio.sleep(_IDLE_S))
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
