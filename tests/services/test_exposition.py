"""/metrics of every service, over HTTP, in both formats: types by the names, and by the table for operators."""

from __future__ import annotations

import math
import re
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from moshi_cluster.services.codec.triton.metrics import TritonMetrics
from moshi_cluster.services.common.certificates import CertificateMetrics
from moshi_cluster.services.common.metrics import MetricsEndpoint, log_lines_dropped
from moshi_cluster.services.common.process_metrics import ProcessMetrics
from moshi_cluster.services.common.worker.device_stats import DeviceStats
from moshi_cluster.services.common.worker.metrics import EngineMetrics
from moshi_cluster.services.common.worker.slots import SlotTable
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.lm.metrics import LmMetrics
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
    log_lines_dropped(service, registry)
    ProcessMetrics(service, registry)
    CertificateMetrics(service, {"server": Path("no such file")}, registry)
    if service == "gateway":
        metrics = GatewayMetrics(registry)
        metrics.has_store()
        metrics.has_wire("twilio")
        metrics.worker_is(True, "lm", "10.0.0.7:50053")
        for gauge in (metrics.workers, metrics.workers_unfit, metrics.worker_checkpoints):
            gauge.labels("lm").set(1)
        metrics.observe_checkpoints({("lm", "0123456789abcdef"): 1})
        return registry
    engine = EngineMetrics(service, registry) if service == "codec" else LmMetrics(registry)
    engine.loaded("0123456789abcdef", lambda: DeviceStats("cuda:0", "a card", 80, 40, 30, 0.5))
    engine.observe_slots([SlotTable("step", 1)])
    if service == "codec":
        TritonMetrics(registry)
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


ROW = re.compile(r"^\| (`[^|]+`) \| (histogram|counter|gauge)([^|]*) \|", re.M)


def documented(service: str) -> Iterator[tuple[str, str]]:
    """Full names and types in the tables for operators."""
    page = (DOCS / "operations.md").read_text()
    _, of_workers, of_gateway, of_all = re.split(r"^(?:codec and lm; each|gateway:|all three, with)", page, flags=re.M)
    of_workers += (DOCS / "triton.md").read_text()
    for rows in (of_gateway if service == "gateway" else of_workers, of_all):
        for names, kind, note in ROW.findall(rows):
            if "of the lm" in note and service != "lm":
                continue
            for name in re.findall(r"`(\w+)(?:\{[\w,]+\})?`", names):
                short = name.removeprefix(f"moshi_{service}_")
                if not short.startswith("moshi_"):
                    yield f"moshi_{service}_{short}", kind


def is_ours(family: Any) -> bool:
    """Not the client library's own, nor Triton's in the lm."""
    return bool(family.name.startswith("moshi_"))


@pytest.mark.parametrize("accept", FORMATS)
@pytest.mark.parametrize("service", SERVICES)
def test_every_metric_has_the_type_that_its_name_says_and_the_operators_read(service: str, accept: str) -> None:
    families = [family for family in scraped(registry_of(service), accept) if is_ours(family)]
    assert {family.name: family.type for family in families} == {family.name: type_named(family) for family in families}
    shown = {
        (f"{family.name.removesuffix('_total')}_total" if family.type == "counter" else family.name, family.type)
        for family in families
    }
    assert shown == set(documented(service))


APPEARS_LATER = {"address", "checkpoint"}
"""Labels whose values nobody knows before; such a series comes with its worker, before its first event."""


def labelled(registry: CollectorRegistry) -> Iterator[Any]:
    """Counters and histograms with labels, as the program made them."""
    for collector in set(registry._collector_to_names):
        if isinstance(collector, Counter | Histogram) and collector._labelnames:
            yield collector


@pytest.mark.parametrize("service", SERVICES)
def test_every_labelled_series_is_there_before_its_first_event(service: str) -> None:
    for metric in labelled(registry_of(service)):
        assert metric._metrics, metric._name
        if not APPEARS_LATER & set(metric._labelnames):
            values = zip(*metric._metrics, strict=True)
            combinations = math.prod(len(set(each)) for each in values)
            assert len(metric._metrics) == combinations, metric._name


@pytest.mark.parametrize("service", SERVICES)
def test_a_process_tells_of_itself(service: str) -> None:
    names = {family.name for family in scraped(registry_of(service), "text/plain; version=0.0.4")}
    assert names >= {"process_cpu_seconds", "process_resident_memory_bytes", "process_open_fds"}
    assert names >= {"process_start_time_seconds"}


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
            "moshi_gateway_call_seconds_bucket",
        ),
        {"session_id": session_id},
    )
    assert not [s for family in plain for s in family.samples if s.exemplar is not None]
