"""/metrics of every service, over HTTP, in both formats: types by the names, and by the table for operators."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from moshi_cluster.services.codec.triton.contract import ModelStats
from moshi_cluster.services.codec.triton.metrics import TritonMetrics
from moshi_cluster.services.common.metrics import MetricsEndpoint, log_lines_dropped
from moshi_cluster.services.common.worker.metrics import EngineMetrics
from moshi_cluster.services.common.worker.program import PrepareStats, StepStats
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from tests.services.gateway.caller import Caller
from tests.services.gateway.cluster import cluster
from tests.services.in_process import PATIENCE_S

Parse = Callable[[str], Iterable[Any]]

DOCS = Path(__file__).parents[2] / "docs"
FORMATS: dict[str, tuple[str, Parse]] = {
    "text/plain; version=0.0.4": ("text/plain", text_string_to_metric_families),
    "application/openmetrics-text; version=1.0.0": (
        "application/openmetrics-text",
        openmetrics.text_string_to_metric_families,
    ),
}
SERVICES = ("gateway", "codec", "lm")


def registry_of(service: str) -> CollectorRegistry:
    """Everything that a service shows, each label once."""
    registry = CollectorRegistry()
    log_lines_dropped(service, registry)("full")
    if service == "gateway":
        metrics = GatewayMetrics(registry)
        metrics.ended("ok", "5e55")
        metrics.rejected("UNAVAILABLE")
        metrics.http_refused("client")
        metrics.unheard("format")
        for gauge in (metrics.workers, metrics.workers_unfit, metrics.worker_checkpoints):
            gauge.labels("lm").set(1)
        metrics.observe_checkpoints({("lm", "0123456789abcdef"): 1})
        return registry
    engine = EngineMetrics(service, registry)
    engine.observe(StepStats("step", 0.01, (0.001,), 1))
    engine.observe(PrepareStats("step", 0.01))
    engine.rejected("step")
    engine._slots.labels("step").set(1)
    engine._slots_used.labels("step").set(1)
    if service == "codec":
        TritonMetrics(registry).observe({"step": ModelStats(1, 1, 0.1, 0.1)})
    return registry


def scraped(registry: CollectorRegistry, accept: str) -> list[Any]:
    """The families that a scraper reads who asks for a format."""
    expected, parse = FORMATS[accept]
    with MetricsEndpoint("127.0.0.1", 0, registry) as endpoint:
        request = urllib.request.Request(f"http://127.0.0.1:{endpoint.port}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            assert answer.headers["Content-Type"].startswith(expected)
            return [family for family in parse(answer.read().decode()) if not family.name.endswith("_created")]


def type_named(family: Any) -> str:
    """The type that the names of a family's samples stand for."""
    names = {sample.name.removeprefix(family.name) for sample in family.samples} - {"_created"}
    if names == {"_total"} or all(sample.name.endswith("_total") for sample in family.samples):
        return "counter"
    return "histogram" if names == {"_bucket", "_count", "_sum"} else "gauge"


def documented(service: str) -> Iterator[tuple[str, str]]:
    """Full names and types in the tables for operators."""
    yield f"moshi_{service}_log_lines_dropped_total", "counter"  # in the sentence below the tables
    tables = "".join((DOCS / page).read_text() for page in ("operations.md", "triton.md"))
    for names, kind in re.findall(r"^\| (`[^|]+`) \| (histogram|counter|gauge) \|", tables, re.M):
        for name in re.findall(r"`(\w+)(?:\{[\w,]+\})?`", names):
            if name.startswith(f"moshi_{service}_"):
                yield name, kind
            elif service != "gateway" and not name.startswith("moshi_"):
                yield f"moshi_{service}_{name}", kind


@pytest.mark.parametrize("accept", FORMATS)
@pytest.mark.parametrize("service", SERVICES)
def test_every_metric_has_the_type_that_its_name_says_and_the_operators_read(service: str, accept: str) -> None:
    families = scraped(registry_of(service), accept)
    assert {family.name: family.type for family in families} == {family.name: type_named(family) for family in families}
    shown = {
        (f"{family.name.removesuffix('_total')}_total" if family.type == "counter" else family.name, family.type)
        for family in families
    }
    assert shown == set(documented(service))


async def test_a_call_is_found_by_its_id_where_openmetrics_is_asked_for() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        session_id = (await caller.start()).session_id
        await caller.say_levels([1, 2])
        await caller.hang_up()
        await all_of_it.until_free()
        plain, open_metrics = (scraped(all_of_it.registry, accept) for accept in FORMATS)
    found = {s.name: s.exemplar.labels for family in open_metrics for s in family.samples if s.exemplar is not None}
    assert found == dict.fromkeys(
        (
            "moshi_gateway_hop_seconds_bucket",
            "moshi_gateway_setup_seconds_bucket",
            "moshi_gateway_sessions_total",
        ),
        {"session_id": session_id},
    )
    assert not [s for family in plain for s in family.samples if s.exemplar is not None]
