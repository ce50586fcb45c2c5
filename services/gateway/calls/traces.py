"""Traces of calls by OpenTelemetry: one span a call, made when it is over. Imported only where they are on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanKind, Status, StatusCode

from moshi_cluster.services.gateway.calls.trace import CallTrace

_STOP_TIMEOUT_S = 2.0
_EXPORT_TIMEOUT_S = 5
_WELL = ("ok", "CANCELLED")  # CANCELLED: the caller hung up without a word


class CallTraces:
    """Sends spans from a thread of its own; what a collector does not take in time is dropped there.

    A call's trace id is its session id, so that exemplars and log lines lead to its trace.
    """

    def __init__(self, endpoint: str, instance: str, exporter: SpanExporter | None = None) -> None:
        """endpoint: http://host:port or https:// of a collector's OTLP gRPC port. exporter: in its place."""
        if exporter is None:
            insecure = endpoint.startswith("http://")
            exporter = OTLPSpanExporter(endpoint, insecure=insecure, timeout=_EXPORT_TIMEOUT_S)
        self._ids = _SessionIds()
        resource = Resource({"service.name": "moshi-gateway", "service.instance.id": instance})
        self._provider = TracerProvider(id_generator=self._ids, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("moshi_cluster")

    def over(self, trace: CallTrace, session_id: str, figures: Mapping[str, str | float]) -> None:
        """Makes the span of a call that has just ended. figures: its attributes, `outcome` among them."""
        self._ids.trace_id = int(session_id, 16)
        span = self._tracer.start_span("call", kind=SpanKind.SERVER, start_time=trace.start_ns)
        span.set_attributes({f"moshi.{name}": value for name, value in figures.items()})
        for event in trace.events:
            span.add_event(event.name, dict(event.figures), event.at_ns)
        well = figures["outcome"] in _WELL
        span.set_status(Status(StatusCode.OK if well else StatusCode.ERROR))
        span.end(trace.now_ns())

    async def stop(self) -> None:
        """Sends what is left, for two seconds at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self._provider.shutdown), _STOP_TIMEOUT_S)


class _SessionIds(RandomIdGenerator):
    """Trace ids as they are told; span ids at random. Used on one thread."""

    trace_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id
