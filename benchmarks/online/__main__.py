"""`python -m benchmarks.online SCENARIO`: real-time calls to a gateway, and what callers get."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import uvloop

from benchmarks.online.arguments import check, limits_of, options_of, parser, settings_of, size_of
from benchmarks.online.caller import Caller
from benchmarks.online.cluster import Cluster, local_cluster
from benchmarks.online.driver import drive, make_callers
from benchmarks.online.export import write_json
from benchmarks.online.hops import growth, read_buckets
from benchmarks.online.limits import Limits
from benchmarks.online.live import LiveView
from benchmarks.online.picture import write_picture
from benchmarks.online.processes import ProcessWatch
from benchmarks.online.progress import Progress
from benchmarks.online.report import Hop, Process, Report, call_seconds, make_report
from benchmarks.online.scenarios import SCENARIOS
from benchmarks.online.speech import speech_messages
from benchmarks.online.table import text_of
from clients.cli.audio import AudioError
from scripts.latency_table import Histogram
from scripts.local_cluster import ClusterError

EXIT_FAILED = 1
EXIT_LIMIT_BROKEN = 3
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    command_line = parser()
    arguments = command_line.parse_args(argv)
    if problem := check(arguments):
        command_line.error(problem)
    try:
        return _run(arguments)
    except (AudioError, ClusterError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run(arguments: argparse.Namespace) -> int:
    scenario, limits = SCENARIOS[arguments.scenario], limits_of(arguments)
    slots = arguments.slots or max(1, int(arguments.callers * scenario.slots_per_caller))
    options = options_of(arguments)
    loops = [speech_messages(path, options.line) for path in arguments.speech]
    callers = make_callers(scenario.plan(size_of(arguments)), options, loops)
    with _cluster(arguments, slots) as cluster:
        step_s = arguments.step_s if scenario.stops_at_limits else None
        report = measure(cluster, callers, arguments.connections, limits, step_s)
    print(text_of(report))
    if arguments.json:
        write_json(arguments.json, report, settings_of(arguments, slots))
    if arguments.picture:
        write_picture(arguments.picture, report, _title(arguments))
    broken = limits.broken(report)
    for sentence in broken:
        print(f"limit broken: {sentence}", file=sys.stderr)
    return EXIT_LIMIT_BROKEN if broken else 0


def _cluster(arguments: argparse.Namespace, slots: int) -> AbstractContextManager[Cluster]:
    if arguments.local:
        print("starting a cluster", file=sys.stderr)
        return local_cluster(arguments.checkpoint, slots, dict(arguments.env))
    return nullcontext(Cluster(arguments.target, arguments.metrics))


def measure(
    cluster: Cluster, callers: Sequence[Caller], connections: int, limits: Limits, ramp_step_s: float | None
) -> Report:
    """The run, and what the services say of it. Raises OSError when their metrics cannot be read.

    ramp_step_s: given for a run that ends when the limits of its last step are broken.
    """
    progress = Progress()
    processes = ProcessWatch(cluster.process_ids)

    def watch(view: LiveView) -> str:
        progress.show(view)
        return limits.ramp_is_over(view, ramp_step_s) if ramp_step_s else ""

    before = read_buckets(cluster.metrics())
    run = uvloop.run(drive(cluster.target, callers, connections, processes, watch))
    progress.end()
    hops = growth(before, read_buckets(cluster.metrics()))
    seconds, total_call_s = run.end_s - run.begin_s, call_seconds(run.records)
    used = {
        name: Process(
            cpu_s,
            cpu_s / seconds,
            cpu_s / total_call_s if total_call_s else math.nan,
            processes.resident_bytes[name],
        )
        for name, cpu_s in processes.used_cpu_s().items()
    }
    return make_report(run, _hops(hops), used)


def _title(arguments: argparse.Namespace) -> str:
    what = f"{arguments.scenario}: {arguments.callers} callers, {arguments.format}, {arguments.packet_ms} ms packets"
    return ", ".join([what, *arguments.impair])


def _hops(histograms: Mapping[str, Histogram]) -> dict[str, Hop]:
    return {
        row: Hop(histogram.count, 1000 * histogram.quantile(0.5), 1000 * histogram.quantile(0.99))
        for row, histogram in histograms.items()
    }


if __name__ == "__main__":
    sys.exit(main())
