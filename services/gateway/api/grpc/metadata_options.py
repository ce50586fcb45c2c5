"""Options of a call by request metadata, for tools that loop fixed messages and can set nothing else per call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.api.grpc.start import parse_start
from moshi_cluster.services.gateway.calls.spec import CallSpec
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import gateway_pb2

PREFIX = "moshi-"

Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True)
class _Option:
    path: str  # of the field within Start
    expects: str
    words: Mapping[str, Any] = field(default_factory=dict)  # spelling in metadata -> spelling in proto JSON


OPTIONS = {
    "moshi-slo-max-late-ratio": _Option("slo.max_late_ratio", "a number"),
    "moshi-slo-max-backlog-frames": _Option("slo.max_backlog_frames", "a whole number"),
    "moshi-loopback": _Option("loopback", "true or false", {"true": True, "false": False}),
    "moshi-seed": _Option("sampling.seed", "a whole number"),
    "moshi-call-label": _Option("call_label", "text"),
    "moshi-reply-packet-ms": _Option("reply_packet_ms", "a whole number"),
    "moshi-reply-pacing": _Option(
        "reply_pacing", "burst or paced", {"burst": "REPLY_PACING_BURST", "paced": "REPLY_PACING_PACED"}
    ),
    "moshi-jitter-allowance-ms": _Option("jitter_allowance_ms", "a whole number"),
}
_KEYS = {f"start.{option.path}": key for key, option in OPTIONS.items()}


def parse_call(start: gateway_pb2.Start, metadata: Metadata, settings: GatewaySettings) -> CallSpec:
    """Specification of the call that a `start` and the options beside it ask for.

    Raises InvalidInput naming the field or `metadata.KEY`.
    """
    spec = parse_start(start, settings)
    merged = with_metadata(start, metadata)
    if merged == start:
        return spec
    try:
        return parse_start(merged, settings)
    except InvalidInput as error:  # `start` alone was in order
        figures = {name: value for name, value in error.figures.items() if name != "field"}
        raise InvalidInput(f"metadata.{_KEYS.get(error.field, error.field)}", str(error), **figures) from None


def with_metadata(start: gateway_pb2.Start, metadata: Metadata) -> gateway_pb2.Start:
    """`start` with each option where it leaves the field absent. Raises InvalidInput for what cannot be read."""
    merged = gateway_pb2.Start()
    for key, value in metadata:
        if key.startswith(PREFIX):
            _set(merged, key, value)
    merged.MergeFrom(start)
    return merged


def _set(start: gateway_pb2.Start, key: str, value: str | bytes) -> None:
    option = OPTIONS.get(key)
    if option is None or isinstance(value, bytes):
        raise InvalidInput(f"metadata.{key}", f"not known; there are {', '.join(OPTIONS)}")
    if option.words and value not in option.words:
        raise InvalidInput(f"metadata.{key}", f"must be {option.expects}")
    nested = option.words.get(value, value)
    for name in reversed(option.path.split(".")):
        nested = {name: nested}
    try:
        json_format.ParseDict(nested, start)
    except json_format.ParseError:
        raise InvalidInput(f"metadata.{key}", f"must be {option.expects}") from None
