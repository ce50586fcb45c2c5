"""Calls as ghz 0.121 makes them, without ghz.

As its runner/worker.go does: send a message, wait the interval after the send has returned, take the next message of
the array and the first again after the last, half-close after the last send without waiting; replies are read and
thrown away; the status is all that counts.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import Message

from benchmarks.ghz.keys import seconds
from benchmarks.ghz.scenario import GhzScenario
from moshi_cluster.v1 import codec_pb2, gateway_pb2, lm_pb2  # noqa: F401 - their types are found by name

_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Loop:
    """A scenario's calls, shortened."""

    scenario: GhzScenario
    messages: Sequence[Message]
    sends: int


def request_type(call: str) -> type[Message]:
    """The message that a call `package.Service.Method` takes."""
    service, _, method = call.rpartition(".")
    found = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(method)
    return message_factory.GetMessageClass(found.input_type)


def parse(scenario: GhzScenario) -> list[Any]:
    """The scenario's message array as messages. Raises json_format.ParseError."""
    kind = request_type(scenario.config["call"])
    return [json_format.ParseDict(row, kind()) for row in scenario.messages()]


def shortened(scenario: GhzScenario, array_messages: int, loops: float) -> Loop:
    """The first messages of the array, looped where the scenario loops, sent once where it does not."""
    messages = parse(scenario)[:array_messages]
    looping = "stream-call-count" in scenario.config
    return Loop(scenario, messages, round(loops * len(messages)) if looping else len(messages))


def statuses(loop: Loop, target: str, calls: int) -> list[grpc.StatusCode]:
    """How each of so many calls at once ended.

    Not grpc.aio: there, a write that fails because the server has ended the call can hide the server's status behind
    INTERNAL.
    """
    with grpc.insecure_channel(target) as channel, ThreadPoolExecutor(calls) as threads:
        return list(threads.map(lambda number: _call(loop, channel, number), range(calls)))


def _call(loop: Loop, channel: grpc.Channel, number: int) -> grpc.StatusCode:
    path = "/{}/{}".format(*loop.scenario.config["call"].rsplit(".", 1))
    method = channel.stream_stream(path, request_serializer=lambda message: message.SerializeToString())
    call = method(_requests(loop), metadata=_metadata(loop.scenario, number), timeout=_PATIENCE_S)
    with contextlib.suppress(grpc.RpcError):
        for _ in call:
            pass
    return call.code()


def _requests(loop: Loop) -> Iterator[Message]:
    """gRPC asks for the next message once the one before has been sent."""
    interval_s = seconds(loop.scenario.config["stream-interval"])
    for number in range(loop.sends):
        if number:
            time.sleep(interval_s)
        yield loop.messages[number % len(loop.messages)]


def _metadata(scenario: GhzScenario, number: int) -> list[tuple[str, str]]:
    """The one template that our configurations use is filled in as ghz does it."""
    texts = scenario.config.get("metadata", {})
    return [(key.lower(), text.replace("{{.RequestNumber}}", str(number))) for key, text in texts.items()]
