"""Latency per hop is what the services' histograms grew by."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.online.hops import growth, in_order, read_buckets
from moshi_cluster.services.common.worker.metrics import EngineMetrics
from moshi_cluster.services.common.worker.program import StepStats
from moshi_cluster.services.gateway.metrics import GatewayMetrics


def test_only_what_happened_between_the_readings_counts() -> None:
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    metrics.hop_s["lm"].observe(1.0)
    before = read_buckets([generate_latest(registry).decode()])
    for _ in range(10):
        metrics.hop_s["lm"].observe(0.041)
    grown = growth(before, read_buckets([generate_latest(registry).decode()]))
    assert set(grown) == {"lm"}
    assert grown["lm"].count == 10
    assert grown["lm"].quantile(0.99) == pytest.approx(0.043, abs=0.003)


def test_workers_of_a_kind_are_added_up_and_told_apart_from_others() -> None:
    texts = []
    for service, program in (("codec", "encode"), ("codec", "encode"), ("lm", "lm")):
        registry = CollectorRegistry()
        EngineMetrics(service, registry).observe(StepStats(program, 0.01, [0.001, 0.002], 0))
        texts.append(generate_latest(registry).decode())
    grown = growth({}, read_buckets(texts))
    assert {row: histogram.count for row, histogram in grown.items()} == {
        "codec encode queue": 4,
        "codec encode step": 2,
        "lm queue": 2,
        "lm step": 1,
    }


def test_rows_follow_a_frames_way() -> None:
    assert in_order(["lm step", "turnaround", "encode", "lm"]) == ["encode", "lm", "turnaround", "lm step"]
