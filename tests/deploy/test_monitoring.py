"""Rules and dashboards: alerts by their unit tests, runbooks that are there, queries that a live Prometheus answers."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from benchmarks.alerts.dashboards import FOLDER, queries
from benchmarks.alerts.prometheus_server import RULES, NoPrometheus, PrometheusServer, shortened
from benchmarks.deploy.rules import WRITTEN, prometheus_rule
from moshi_cluster.services.common.metrics import MetricsEndpoint
from moshi_cluster.services.common.process_metrics import ProcessMetrics
from moshi_cluster.services.common.worker.metrics import EngineMetrics
from moshi_cluster.services.common.worker.program import StepStats
from moshi_cluster.services.common.worker.slots import SlotTable
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from tests.services.in_process import PATIENCE_S

OPERATIONS = Path("docs/operations.md")
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool: apt-get install prometheus")


@needs_promtool
@pytest.mark.parametrize("arguments", [["check", "rules"], ["test", "rules"]], ids=" ".join)
def test_the_rules_are_right(arguments: list[str]) -> None:
    files = (RULES / "tests" if arguments[0] == "test" else RULES).glob("*.yml")
    done = subprocess.run(["promtool", *arguments, *files], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_unit_test_and_a_paragraph_that_it_names() -> None:
    alerts = re.findall(r"- alert: (\w+)", (RULES / "alerts.yml").read_text())
    runbooks = re.findall(r"runbook_url: (.*)", (RULES / "alerts.yml").read_text())
    headings = re.findall(r"^### (\w+)$", OPERATIONS.read_text(), re.MULTILINE)
    tested = (RULES / "tests/alerts.yml").read_text()
    assert runbooks == [f"docs/operations.md#{alert.lower()}" for alert in alerts]
    assert set(alerts) <= set(headings)
    assert all(f"alertname: {alert}\n        exp_alerts" in tested for alert in alerts)


def test_the_operator_of_prometheus_is_given_the_same_rules() -> None:
    assert WRITTEN.read_text() == prometheus_rule(), "python -m benchmarks.deploy.rules writes it"


def test_waits_are_shortened_and_nothing_else() -> None:
    assert shortened("        for: 5m\n        expr: a[5m] > 0\n        for: 30s\n", 0.1) == (
        "        for: 30s\n        expr: a[5m] > 0\n        for: 3s\n"
    )


def test_dashboards_are_found_by_names_of_their_own() -> None:
    files = list(FOLDER.glob("*.json"))
    assert len({query.dashboard for query in queries()}) == len(files) == 4


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """That has watched a gateway, a codec and an lm do something."""
    if not shutil.which("prometheus"):
        pytest.skip("no prometheus: apt-get install prometheus")
    registries = {name: CollectorRegistry() for name in ("gateway", "codec", "lm")}
    processes = [ProcessMetrics(name, registry) for name, registry in registries.items()]
    gateway = GatewayMetrics(registries["gateway"])
    workers = [EngineMetrics(name, registries[name]) for name in ("codec", "lm")]
    with ExitStack() as held:
        ports = {name: held.enter_context(MetricsEndpoint("127.0.0.1", 0, of)).port for name, of in registries.items()}
        targets = {f"{name}-0": f"127.0.0.1:{port}" for name, port in ports.items()}
        server = PrometheusServer(targets, tmp_path_factory.mktemp("prometheus"), 0.1, scrape_s=0.3)
        held.enter_context(server)

        def watched() -> bool:
            happen(gateway, workers, processes)
            return all(server.query(query.expression) for query in queries() if not query.needs_gpu)

        with contextlib.suppress(NoPrometheus):  # the tests say which query has no data
            server.wait_for(watched, PATIENCE_S, "a query has no data")
        yield server


def happen(gateway: GatewayMetrics, workers: list[EngineMetrics], processes: list[ProcessMetrics]) -> None:
    for process in processes:
        process.state("serving")
    for service, worker in zip(("codec", "lm"), workers, strict=True):
        worker.observe_slots([SlotTable(service, 4)])
        worker.observe(StepStats(service, 0.01, (0.001,), 0))
        gateway.worker_is(True, service, "10.0.0.7:50052")
        gateway.workers.labels(service).set(1)
    gateway.calls_active.set(1)
    gateway.ended("ok", "grpc", "5e55", 12.0)
    gateway.setup_s.observe(0.02)
    gateway.backlog_frames.observe(1)
    for counter in gateway.frames.values():
        counter.inc()
    for hop in gateway.hop_s.values():
        hop.observe(0.01)


@pytest.mark.parametrize("dashboard", sorted({query.dashboard for query in queries()}))
def test_every_query_of_a_dashboard_returns_data(dashboard: str, prometheus: PrometheusServer) -> None:
    """Those of GPUs are read, too, and have nothing to show here."""
    asked = [query for query in queries() if query.dashboard == dashboard]
    silent = [query for query in asked if not prometheus.query(query.expression) and not query.needs_gpu]
    assert not silent
