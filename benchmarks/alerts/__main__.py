"""Proof that alerts fire and dashboards show data, `make alerts-check`: a cluster in trouble and a live Prometheus.

Two lm workers with two slots each, six recorded callers; then the lms are killed, one after the other. Exit status: 0
every alert fired and every dashboard query gave data, 1 the run failed, 3 one did not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.alerts.dashboards import queries
from benchmarks.alerts.prometheus_server import NoPrometheus, PrometheusServer
from moshi_cluster.clients.cli.converse import CallScript, Listener, converse
from moshi_cluster.clients.telephony.errors import CallError
from moshi_cluster.clients.telephony.wire_formats import ENCODINGS
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.cluster.recorded_callers import read
from moshi_cluster.cluster.running_cluster import exit_code, say
from moshi_cluster.v1 import common_pb2, gateway_pb2

_EXIT_SILENT = 3
_SLOTS, _CALLERS, _PACKET_MS = 2, 6, 80
_QUIET_S, _PATIENCE_S = 5.0, 120.0


@dataclass
class Findings:
    """What is printed in the end."""

    lines: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alerts", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--factor", type=float, default=0.1, help="of every alert's `for`, 0.1 if absent")
    arguments = parser.parse_args(argv)
    return exit_code(lambda: _run(arguments.factor))


def _run(factor: float) -> int:
    layout = Layout(str(DEFAULT_CHECKPOINT), lm_workers=2, slots=_SLOTS)
    environment = {"MOSHI_CODEC_SLOTS": str(2 * _CALLERS)}
    with LocalCluster(layout, environment) as cluster, tempfile.TemporaryDirectory() as folder:
        targets = {name: cluster.metrics_url(name).split("/")[2] for name in cluster.names}
        try:
            with PrometheusServer(targets, Path(folder), factor) as prometheus:
                findings = asyncio.run(_trouble(cluster, prometheus))
        except NoPrometheus as error:
            say(f"error: {error}")
            return 1
    for line in (*findings.lines, *findings.silent):
        print(line)
    return _EXIT_SILENT if findings.silent else 0


async def _trouble(cluster: LocalCluster, prometheus: PrometheusServer) -> Findings:
    findings = Findings()
    await asyncio.sleep(_QUIET_S)
    findings.lines.append(f"nothing wrong: firing {sorted(prometheus.firing()) or 'nothing'}")
    async with _callers(cluster.address()):
        await _until(prometheus, "MoshiCapacityShort", f"{_CALLERS} callers for {2 * _SLOTS} slots", findings)
        await asyncio.to_thread(_ask_dashboards, prometheus, findings)
        cluster.kill("lm-1")
        await _until(prometheus, "MoshiWorkerLost", f"lm-1 at {cluster.address('lm-1')} killed", findings)
        cluster.kill("lm-0")
        await _until(prometheus, "MoshiNoWorker", "lm-0 killed as well", findings)
    lost = [series["metric"]["address"] for series in prometheus.query('ALERTS{alertname="MoshiWorkerLost"}')]
    findings.lines.append(f"lost, by address: {', '.join(sorted(set(lost)))}")
    return findings


async def _until(prometheus: PrometheusServer, alert: str, cause: str, findings: Findings) -> None:
    try:
        after_s = await asyncio.to_thread(
            prometheus.wait_for, lambda: alert in prometheus.firing(), _PATIENCE_S, f"{alert} did not fire"
        )
        findings.lines.append(f"{cause}: {alert} fires after {after_s:.1f} s")
    except NoPrometheus as error:
        findings.silent.append(str(error))


def _ask_dashboards(prometheus: PrometheusServer, findings: Findings) -> None:
    asked = [query for query in queries() if not query.needs_gpu]
    for query in asked:
        if not prometheus.query(query.expression):
            findings.silent.append(f"{query.dashboard}, {query.panel}: no data for {query.expression}")
    findings.lines.append(f"dashboards: {len(asked)} queries asked")


@asynccontextmanager
async def _callers(target: str) -> AsyncIterator[None]:
    """Recorded callers who call again when their call is over, until the context is left."""
    recordings = [caller.packets(_PACKET_MS) for caller in read()]
    tasks = [
        asyncio.create_task(_call_again(target, recordings[number % len(recordings)])) for number in range(_CALLERS)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _call_again(target: str, packets: Sequence[bytes]) -> None:
    form = gateway_pb2.AudioFormat(encoding=ENCODINGS["mulaw"], sample_rate_hz=8000)
    start = gateway_pb2.Start(input_format=form, output_format=form, sampling=common_pb2.Sampling(seed=1))
    while True:
        with contextlib.suppress(CallError):  # refused, or lost: what this is about
            await converse(target, CallScript(start, packets, _PACKET_MS / 1000), Listener())
        await asyncio.sleep(1.0)


if __name__ == "__main__":
    sys.exit(main())
