"""What every service shows on /metrics."""

from __future__ import annotations

import urllib.request

from prometheus_client import CollectorRegistry, Counter

from moshi_cluster.services.common.metrics import LATENCY_BUCKETS_S, MetricsEndpoint


def test_buckets_are_ordered_and_hold_one_frame() -> None:
    assert list(LATENCY_BUCKETS_S) == sorted(set(LATENCY_BUCKETS_S))
    assert 0.08 in LATENCY_BUCKETS_S


def test_the_endpoint_serves_the_registry_on_a_port_of_its_own() -> None:
    registry = CollectorRegistry()
    Counter("moshi_lm_rejections", "Refused.", registry=registry).inc()
    with MetricsEndpoint("127.0.0.1", 0, registry) as endpoint:
        body = urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=60).read().decode()
    assert "moshi_lm_rejections_total 1.0" in body
