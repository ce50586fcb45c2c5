"""Connection to a Triton server: what its models say of themselves, and streams of sequences."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from moshi_cluster.services.codec.triton.contract import PROGRAMS, MimiParameters, ModelStats, check_tensors, model_name
from moshi_cluster.services.codec.triton.frames import Frames
from moshi_cluster.services.common.rpc import channel_options

_MAX_MESSAGE_BYTES = 1024 * 1024  # statistics of a model with many batch sizes; a frame is 8 kB
_NANOSECONDS = 1e9


class TritonNotReady(Exception):
    """Triton is out of reach, or what it runs under the name is not Mimi; the text is for operators."""


class TritonSilent(TritonNotReady):
    """Triton is there and did not answer in time."""


@dataclass(frozen=True)
class ModelLook:
    """A model as it was found."""

    parameters: MimiParameters
    stats: ModelStats


class TritonConnection:
    """One channel to a Triton server and the two models under a name."""

    def __init__(self, url: str, name: str, answer_timeout_s: float) -> None:
        """url: host:port of its gRPC port. answer_timeout_s: for everything but streams."""
        self._client = InferenceServerClient(url, channel_args=channel_options(_MAX_MESSAGE_BYTES))
        self._name = name
        self._timeout_s = answer_timeout_s

    async def look(self) -> Mapping[str, ModelLook]:
        """Both models by program. Raises TritonNotReady, or TritonSilent when no answer comes in time."""
        try:
            looks = [await self._look(program) for program in PROGRAMS]
        except InferenceServerException as error:
            kind = TritonSilent if error.status() == "StatusCode.DEADLINE_EXCEEDED" else TritonNotReady
            raise kind(error.message()) from None
        encode, decode = (look.parameters for look in looks)
        if encode.model != decode.model:
            raise TritonNotReady(f"the models {self._name}_encode and {self._name}_decode are of different checkpoints")
        return dict(zip(PROGRAMS, looks, strict=True))

    async def try_frame(self, program: str, frames: Frames, timeout_s: float) -> None:
        """Has a blank frame run: Triton calls a model ready whose process has died. Raises TritonNotReady."""

        async def trial() -> AsyncIterator[dict[str, Any]]:
            ends = {"sequence_start": True, "sequence_end": True}
            yield {"inputs": [frames.write(frames.blank)], "sequence_id": secrets.randbits(63) + 1, **ends}

        answers = self.stream(program, trial())
        try:
            async with asyncio.timeout(timeout_s):
                _, error = await anext(answers)
        except TimeoutError:
            raise TritonSilent(f"{program} does not answer a trial frame") from None
        except (grpc.RpcError, StopAsyncIteration):
            raise TritonNotReady(f"{program} is lost over a trial frame") from None
        finally:
            answers.cancel()
        if error is not None:
            raise TritonNotReady(f"{program} refuses a trial frame: {error.message()}")

    def stream(self, program: str, requests: AsyncIterator[dict[str, Any]]) -> Any:
        """A stream of its own to the program's model: an async iterator of answers, with `cancel`.

        requests: what distinguishes them, as tritonclient's stream_infer has it. Iterating raises grpc.RpcError.
        """
        return self._client.stream_infer(_named(model_name(self._name, program), requests))

    async def close(self) -> None:
        """Ends every stream."""
        await self._client.close()

    async def _look(self, program: str) -> ModelLook:
        name = model_name(self._name, program)
        if not await self._client.is_model_ready(name, client_timeout=self._timeout_s):
            raise TritonNotReady(f"the model {name} is not ready")
        config = (await self._client.get_model_config(name, client_timeout=self._timeout_s)).config
        statistics = await self._client.get_inference_statistics(name, client_timeout=self._timeout_s)
        try:
            parameters = _parameters(config)
            if parameters.program != program:
                raise ValueError(f"it runs {parameters.program}")
        except ValueError as error:
            raise TritonNotReady(f"the model {name} is not the Mimi that is expected: {error}") from None
        return ModelLook(parameters, _stats(statistics))


async def _named(name: str, requests: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    async for request in requests:
        yield {"model_name": name, **request}


def _parameters(config: Any) -> MimiParameters:
    """Raises ValueError for a model of another kind."""
    parameters = MimiParameters.from_strings({key: value.string_value for key, value in config.parameters.items()})
    inputs, outputs = (
        {tensor.name: tuple(tensor.dims) for tensor in tensors} for tensors in (config.input, config.output)
    )
    check_tensors(parameters, inputs, outputs)
    if not config.HasField("sequence_batching"):
        raise ValueError("it has no sequence_batching")
    return parameters


def _stats(statistics: Any) -> ModelStats:
    """All versions together."""
    models = [model.inference_stats for model in statistics.model_stats]
    compute = [part.ns for each in models for part in (each.compute_input, each.compute_infer, each.compute_output)]
    return ModelStats(
        requests=sum(each.success.count for each in models),
        failures=sum(each.fail.count for each in models),
        queue_s=sum(each.queue.ns for each in models) / _NANOSECONDS,
        compute_s=sum(compute) / _NANOSECONDS,
    )
