"""A span for each call, at a collector that speaks OTLP over real gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.calls.trace import CallTrace
from moshi_cluster.services.gateway.settings import GatewaySettings
from tests.services.gateway.caller import Caller
from tests.services.gateway.cluster import cluster
from tests.services.in_process import eventually

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="no OpenTelemetry: pip install '.[tracing]'")

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Collector(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    async def Export(self, request: Any, context: object) -> Any:
        for of_resource in request.resource_spans:
            for scope in of_resource.scope_spans:
                self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, str]]:
    """A collector and its endpoint."""
    collector, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_a_call_is_a_span_whose_trace_is_its_session_with_an_event_for_each_hop() -> None:
    async with collecting() as (collector, endpoint):
        async with cluster(otlp_endpoint=endpoint) as all_of_it:
            caller = Caller(all_of_it.stub)
            session_id = (await caller.start()).session_id
            await caller.say_levels([1, 2, 3])
            await caller.hang_up()
            await all_of_it.until_free()
        await eventually(lambda: bool(collector.spans))
    [span] = collector.spans
    assert span.trace_id.hex() == session_id
    assert span.end_time_unix_nano > span.start_time_unix_nano
    attributes = {each.key: each.value.string_value for each in span.attributes}
    assert attributes == {"moshi.outcome": "ok", "moshi.transport": "grpc", "moshi.token": ""}
    events = {event.name: {each.key: each.value.int_value for each in event.attributes} for event in span.events}
    assert {"started", "frames", *(f"hop {hop}" for hop in ("edge_in", "encode", "lm", "decode", "turnaround"))} <= set(
        events
    )
    assert events["hop lm"]["frames"] == events["frames"]["frames_in"] == 3


async def test_a_collector_that_is_away_disturbs_no_call() -> None:
    async with cluster(otlp_endpoint="http://127.0.0.1:1") as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1])
        await caller.hang_up()
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="ok") == 1


def test_an_endpoint_without_a_scheme_is_refused() -> None:
    with pytest.raises(SettingError, match="MOSHI_GATEWAY_OTLP_ENDPOINT: expected http"):
        GatewaySettings(otlp_endpoint="collector:4317")


def test_a_trace_has_no_more_events_than_there_is_room_for() -> None:
    trace = CallTrace()
    for _ in range(1000):
        trace.happened("again")
    assert len(trace.events) == 100
