"""Measurement of a run, from the first reading of the services' metrics to the report."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import uvloop

from benchmarks.online.caller import Caller
from benchmarks.online.cluster import Cluster
from benchmarks.online.driver import drive
from benchmarks.online.hops import growth, read_buckets
from benchmarks.online.limits import Limits
from benchmarks.online.live import LiveView
from benchmarks.online.processes import ProcessWatch
from benchmarks.online.progress import RunProgress
from benchmarks.online.report import LoadReport, make_report

_DETAILS_SHOWN = 5


def measure(
    cluster: Cluster,
    callers: Sequence[Caller],
    connections: int,
    limits: Limits,
    ramp_step_s: float | None,
    resumes: bool = False,
) -> LoadReport:
    """The run, and what the services say of it. Raises OSError when their metrics cannot be read.

    ramp_step_s: given for a run that ends when the limits of its last step are broken. resumes: a call that is lost
    goes on in another one.
    """
    progress = RunProgress()
    processes = ProcessWatch(cluster.process_ids)

    def watch(view: LiveView) -> str:
        progress.show(view)
        return limits.ramp_is_over(view, ramp_step_s) if ramp_step_s else ""

    before = read_buckets(cluster.metrics())
    run = uvloop.run(drive(cluster.target, callers, connections, processes, watch, resumes))
    progress.end()
    for detail in sorted({record.detail for record in run.records if record.detail})[:_DETAILS_SHOWN]:
        print(f"calls ended with: {detail}", file=sys.stderr)
    return make_report(run, growth(before, read_buckets(cluster.metrics())), processes)
