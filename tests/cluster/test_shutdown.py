"""SIGTERM while people talk."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from moshi_cluster.clients.cli.converse import CallResult, CallScript, Listener, converse
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.v1 import gateway_pb2
from tests.cluster.callers import PACKET_S, Line, open_call, speech, start, until
from tests.cluster.conftest import PATIENT, SLOTS

pytestmark = pytest.mark.cluster

LINE = Line("mulaw", 8_000)
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Caller(Listener):
    """Says something for four seconds; `is_up` from the moment when the gateway has answered."""

    def __init__(self) -> None:
        self.is_up = asyncio.Event()

    def started(self, started: gateway_pb2.Started) -> None:
        self.is_up.set()

    async def call(self, target: str) -> CallResult:
        return await converse(target, CallScript(start(LINE), speech(LINE, 4.0), PACKET_S), self)


@pytest.fixture
def brief_cluster(checkpoint: Path) -> Iterator[LocalCluster]:
    """Workers that take no new sessions from the first moment of their stop."""
    at_once = {"MOSHI_CODEC_DRAIN_LINGER_S": "0", "MOSHI_LM_DRAIN_LINGER_S": "0"}
    with LocalCluster(Layout(str(checkpoint), slots=SLOTS), PATIENT | at_once) as running:
        yield running


@pytest.mark.parametrize("name", ["gateway-0", "lm-0", "codec-0"])
async def test_running_calls_finish_and_new_ones_are_refused_after_sigterm(
    brief_cluster: LocalCluster, name: str
) -> None:
    async with grpc.aio.insecure_channel(brief_cluster.address()) as channel:
        callers = [Caller() for _ in range(3)]
        running = [asyncio.create_task(caller.call(brief_cluster.address())) for caller in callers]
        for caller in callers:
            await caller.is_up.wait()
        brief_cluster.signal(name, signal.SIGTERM)
        await until(lambda: _is_not_serving(brief_cluster.address(name)))
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await open_call(channel, LINE)
        assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE
        for reply in await asyncio.gather(*running):
            assert reply.ended is not None
            assert reply.ended.reason == gateway_pb2.Ended.REASON_HANGUP
            assert reply.ended.counters.frames_out == reply.ended.counters.frames_in == 50
    assert brief_cluster.wait(name, timeout_s=10) == 0


async def _is_not_serving(target: str) -> bool:
    async with grpc.aio.insecure_channel(target) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        return bool(answer.status == NOT_SERVING)
