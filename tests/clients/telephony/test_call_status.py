"""Calls whose status a proxy has changed, or whose trailers it has broken: told in a line, never a traceback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from moshi_cluster.__main__ import main
from moshi_cluster.clients.cli.commands import EXIT_CALL_FAILED
from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE
from moshi_cluster.v1 import gateway_pb2, gateway_pb2_grpc

FULL = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="no free slot")
RETRY = error_details_pb2.RetryInfo()
RETRY.retry_delay.FromMilliseconds(700)
FULL.details.add().Pack(RETRY)
BROKEN_DETAIL = status_pb2.Status()
BROKEN_DETAIL.CopyFrom(FULL)
BROKEN_DETAIL.details[0].value = b"\xff"
UNKNOWN_CODE = status_pb2.Status(code=99)


class Behind(gateway_pb2_grpc.GatewayServicer):
    """A gateway behind something that changes statuses."""

    def __init__(self, code: grpc.StatusCode, details: str, trailer: bytes) -> None:
        self._code, self._details, self._trailer = code, details, trailer

    async def Converse(
        self, requests: AsyncIterator[gateway_pb2.ConverseRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[gateway_pb2.ConverseResponse]:
        await anext(requests)
        await context.abort(self._code, self._details, (("grpc-status-details-bin", self._trailer),))
        yield gateway_pb2.ConverseResponse()


CHANGED = "CANCELLED: gone; something on the way changed the status, the gateway said RESOURCE_EXHAUSTED (try again in"
CASES = {
    "another code": (grpc.StatusCode.CANCELLED, "gone", FULL.SerializeToString(), CHANGED),
    "another sentence": (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "busy",
        FULL.SerializeToString(),
        "RESOURCE_EXHAUSTED: busy (try again in 700 ms)",
    ),
    "no status": (grpc.StatusCode.UNAVAILABLE, "gone", b"\xff\xff", "UNAVAILABLE: gone\n"),
    "a broken detail": (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "busy",
        BROKEN_DETAIL.SerializeToString(),
        "RESOURCE_EXHAUSTED: busy\n",
    ),
    "no code that there is": (grpc.StatusCode.UNKNOWN, "x", UNKNOWN_CODE.SerializeToString(), "UNKNOWN: x\n"),
}


@pytest.mark.parametrize("command", ["converse", "talk"])
@pytest.mark.parametrize(("code", "details", "trailer", "line"), CASES.values(), ids=CASES)
async def test_a_status_that_was_changed_on_the_way_is_told_in_a_line(
    command: str,
    code: grpc.StatusCode,
    details: str,
    trailer: bytes,
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = grpc.aio.server()
    gateway_pb2_grpc.add_GatewayServicer_to_server(Behind(code, details, trailer), server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    arguments = [command, "--target", target, "--input", str(DEMO_UTTERANCE), "--output", str(tmp_path / "reply.wav")]
    assert await asyncio.to_thread(main, arguments) == EXIT_CALL_FAILED
    await server.stop(None)
    assert f"error: {line}" in capsys.readouterr().err
