"""The codec service in front of a Triton, over real gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, generate_latest

from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.codec.triton.metrics import TritonMetrics
from moshi_cluster.services.codec.triton.service import TritonCodecService, WatchTimes
from moshi_cluster.services.common.worker.metrics import EngineMetrics
from moshi_cluster.v1 import codec_pb2_grpc, worker_pb2, worker_pb2_grpc
from tests.services.codec.triton.fake_triton import FakeTriton, listening
from tests.services.in_process import eventually, read, serving

HASTY = WatchTimes(look_s=0.02, silence_s=0.2, silent_looks=2)


@dataclass
class Codec:
    """The service, its client, and what it tells."""

    service: TritonCodecService
    stub: codec_pb2_grpc.CodecStub
    channel: grpc.aio.Channel
    registry: CollectorRegistry

    async def capacity(self) -> Any:
        """What it tells gateways now."""
        stream = worker_pb2_grpc.WorkerStub(self.channel).WatchCapacity(worker_pb2.WatchCapacityRequest())
        try:
            return await read(stream)
        finally:
            stream.cancel()

    async def until(self, ready: bool) -> None:
        """Returns once it is ready, or is not."""
        await eventually(lambda: self.service.readiness.is_ready == ready)

    def metric(self, line: str) -> bool:
        """Whether /metrics has this line."""
        return f"{line}\n".encode() in generate_latest(self.registry)


def make_service(port: int, registry: CollectorRegistry, **settings: Any) -> TritonCodecService:
    """In front of the Triton on a port, whether there is one or not."""
    url = {"backend": "triton", "triton_url": f"127.0.0.1:{port}"}
    metrics = EngineMetrics("codec", registry)
    return TritonCodecService(CodecSettings(**{**url, **settings}), metrics, TritonMetrics(registry), HASTY)


@asynccontextmanager
async def codec_behind(port: int, **settings: Any) -> AsyncIterator[Codec]:
    """A codec that is ready, in front of the Triton on a port."""
    registry = CollectorRegistry()
    service = make_service(port, registry, **settings)
    async with serving(service) as listener:
        yield Codec(service, codec_pb2_grpc.CodecStub(listener.channel), listener.channel, registry)


@asynccontextmanager
async def codec_and_triton(triton: FakeTriton, **settings: Any) -> AsyncIterator[Codec]:
    """Both; in the end everything that Triton holds back is answered."""
    async with listening(triton) as (_, port), codec_behind(port, **settings) as codec:
        try:
            yield codec
        finally:
            triton.let_all()
