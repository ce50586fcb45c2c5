"""Load driver, `python -m benchmarks.online SCENARIO`: real-time calls to a gateway, and what callers get."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from benchmarks.online.arguments import check, limits_of, options_of, parser, settings_of, size_of
from benchmarks.online.cluster import Cluster, local_cluster
from benchmarks.online.driver import make_callers
from benchmarks.online.export import write_json
from benchmarks.online.measure import measure
from benchmarks.online.picture import write_picture
from benchmarks.online.scenarios import SCENARIOS
from benchmarks.online.speech import speech_messages
from benchmarks.online.table import text_of
from moshi_cluster.clients.telephony.errors import BadInput
from moshi_cluster.cluster.running_cluster import EXIT_FAILED, exit_code, say

EXIT_LIMIT_BROKEN = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    command_line = parser()
    arguments = command_line.parse_args(argv)
    if problem := check(arguments):
        command_line.error(problem)
    try:
        return exit_code(lambda: _run(arguments))
    except BadInput as error:
        say(f"error: {error}")
        return EXIT_FAILED


def _run(arguments: argparse.Namespace) -> int:
    scenario, limits = SCENARIOS[arguments.scenario], limits_of(arguments)
    slots = arguments.slots or max(1, int(arguments.callers * scenario.slots_per_caller))
    options = options_of(arguments)
    loops = [speech_messages(path, options.line) for path in arguments.speech]
    callers = make_callers(scenario.plan(size_of(arguments)), options, loops)
    with _cluster(arguments, slots) as cluster:
        step_s = arguments.step_s if scenario.stops_at_limits else None
        report = measure(cluster, callers, arguments.connections, limits, step_s, arguments.resume)
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
        return local_cluster(arguments.checkpoint, slots, dict(arguments.env))
    return nullcontext(Cluster(arguments.target, arguments.metrics))


def _title(arguments: argparse.Namespace) -> str:
    what = f"{arguments.scenario}: {arguments.callers} callers, {arguments.format}, {arguments.packet_ms} ms packets"
    return ", ".join([what, *arguments.impair])


if __name__ == "__main__":
    sys.exit(main())
