"""The exposition: read by both text formats, named as the documents name it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from moshi_cluster.services.gateway.metrics import GatewayMetrics

FORMATS: dict[str, tuple[Callable[[CollectorRegistry], bytes], Callable[[str], Iterable[Any]]]] = {
    "prometheus": (generate_latest, text_string_to_metric_families),
    "openmetrics": (openmetrics.generate_latest, openmetrics_parser.text_string_to_metric_families),
}
NAMES = {
    "moshi_gateway_hop_seconds_bucket",
    "moshi_gateway_hop_seconds_count",
    "moshi_gateway_hop_seconds_sum",
    "moshi_gateway_calls_active",
    "moshi_gateway_sessions_total",
    "moshi_gateway_frames_total",
    "moshi_gateway_backlog_frames_bucket",
    "moshi_gateway_setup_seconds_bucket",
    "moshi_gateway_worker_rejections_total",
    "moshi_gateway_dtmf_total",
    "moshi_gateway_dtmf_ignored_total",
}

SESSION = "0123456789abcdef" * 2


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    metrics.calls_active.set(3)
    metrics.ended("ok", "grpc", SESSION, 12.0)
    metrics.ended("ok", "grpc", SESSION, 12.0)
    metrics.ended("UNAVAILABLE", "websocket", SESSION, None)
    metrics.rejected("RESOURCE_EXHAUSTED")
    metrics.digit(is_key=True)
    metrics.digit(is_key=False)
    metrics.digit(is_key=False)
    metrics.frames["late"].inc(2)
    metrics.hop_s["turnaround"].observe(0.0801)
    return registry


@pytest.mark.parametrize("name", FORMATS)
def test_the_exposition_is_read_in_both_formats(name: str, registry: CollectorRegistry) -> None:
    write, read = FORMATS[name]
    samples = [sample for family in read(write(registry).decode()) for sample in family.samples]
    assert {sample.name for sample in samples} >= NAMES
    values = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
    assert values["moshi_gateway_calls_active",] == 3
    assert values["moshi_gateway_sessions_total", "ok", "grpc"] == 2
    assert values["moshi_gateway_sessions_total", "UNAVAILABLE", "websocket"] == 1
    assert values["moshi_gateway_call_seconds_sum", "grpc"] == 24
    assert values["moshi_gateway_call_seconds_count", "websocket"] == 0
    assert values["moshi_gateway_worker_rejections_total", "RESOURCE_EXHAUSTED"] == 1
    assert values["moshi_gateway_frames_total", "late"] == 2
    assert values["moshi_gateway_dtmf_total",] == 1
    assert values["moshi_gateway_dtmf_ignored_total",] == 2


def test_every_hop_and_every_kind_of_frame_is_there_from_the_start() -> None:
    registry = CollectorRegistry()
    GatewayMetrics(registry)
    for hop in ("edge_in", "encode", "lm", "decode", "edge_out", "turnaround"):
        assert registry.get_sample_value("moshi_gateway_hop_seconds_count", {"hop": hop}) == 0
    for kind in ("in", "out", "filled", "dropped", "late", "reply_dropped"):
        assert registry.get_sample_value("moshi_gateway_frames_total", {"kind": kind}) == 0


def test_a_worker_is_known_by_its_address_and_its_losses_outlive_it() -> None:
    registry = CollectorRegistry()
    metrics, who = GatewayMetrics(registry), ("lm", "10.0.0.7:50053")
    labels = {"service": who[0], "address": who[1]}
    up = partial(registry.get_sample_value, "moshi_gateway_worker_up", labels)
    losses = labels | {"reason": "lost"}
    metrics.worker_is(True, *who)
    assert (up(), registry.get_sample_value("moshi_gateway_worker_losses_total", losses)) == (1, 0)
    metrics.worker_is(False, *who)
    metrics.worker_lost(*who, "lost")
    metrics.worker_forgotten(*who)
    assert (up(), registry.get_sample_value("moshi_gateway_worker_losses_total", losses)) == (None, 1)


def test_of_workers_long_gone_nothing_is_left() -> None:
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    for number in range(1000):
        metrics.worker_is(True, "lm", f"10.0.0.7:{number}")
        metrics.worker_forgotten("lm", f"10.0.0.7:{number}")
    lines = [line for line in generate_latest(registry).decode().splitlines() if 'address="' in line]
    assert 0 < len(lines) <= 400


def test_whether_the_store_is_up_is_said_only_where_there_is_one() -> None:
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    assert registry.get_sample_value("moshi_gateway_store_up") is None
    metrics.has_store()
    assert registry.get_sample_value("moshi_gateway_store_up") == 0


def test_a_bucket_ends_at_one_frame(registry: CollectorRegistry) -> None:
    below = registry.get_sample_value("moshi_gateway_hop_seconds_bucket", {"hop": "turnaround", "le": "0.08"})
    above = registry.get_sample_value("moshi_gateway_hop_seconds_bucket", {"hop": "turnaround", "le": "0.085"})
    assert (below, above) == (0, 1)


def test_every_metric_says_what_it_means(registry: CollectorRegistry) -> None:
    for family in registry.collect():
        assert len(family.documentation.split()) >= 3, family.name


def test_calls_that_are_up_are_a_gauge_and_those_that_ended_a_counter(registry: CollectorRegistry) -> None:
    types = {family.name: family.type for family in registry.collect()}
    assert types["moshi_gateway_calls_active"] == "gauge"
    assert types["moshi_gateway_sessions"] == "counter"  # its sample ends in _total
    assert "unknown" not in types.values()
