"""A conversation with several recorded callers at once: `make demo`.

Starts codec, lm and gateway on free ports; the callers ask as telephones do, mu-law in packets of 20 ms, in real time.
Shows questions and answers side by side as they come, writes both voices of every call, prints the latency of every hop
from the services' own metrics, and stops everything.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from moshi_cluster.clients.telephony.errors import CallError
from moshi_cluster.cluster.columns import Columns
from moshi_cluster.cluster.demo_call import DemoCall
from moshi_cluster.cluster.latency_table import histograms, scrape, table
from moshi_cluster.cluster.local_cluster import LocalCluster
from moshi_cluster.cluster.recorded_callers import read
from moshi_cluster.cluster.running_cluster import EXIT_FAILED, exit_code, running_cluster, say

_JOIN_EVERY_S = 0.5
_GATEWAY_HOPS = ("edge_in", "encode", "lm", "decode", "edge_out", "turnaround")


def main() -> int:
    """Command line; the exit code is 1 when the services or a call fail, 130 when interrupted."""
    arguments = _parser().parse_args()
    return exit_code(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    view = Columns(arguments.callers, sys.stdout)
    calls = [DemoCall(number, recording, view) for number, recording in enumerate(read()[: arguments.callers])]
    arguments.output.mkdir(parents=True, exist_ok=True)
    with running_cluster(arguments.checkpoint, arguments.logs, slots=len(calls)) as cluster:
        view.headings()
        try:
            asyncio.run(_hold(calls, cluster.address(), arguments.output))
        except CallError as error:
            say(f"error: {error}")
            return EXIT_FAILED
        print(f"\n{_right(calls)}; both voices of every call are in {arguments.output}/\n\n{latencies(cluster)}")
    return 0


async def _hold(calls: Sequence[DemoCall], target: str, output: Path) -> None:
    async def join(call: DemoCall) -> None:
        await asyncio.sleep(call.number * _JOIN_EVERY_S)  # out of step with each other, as people are
        await call.hold(target, output / f"call-{call.number + 1}.wav")

    await asyncio.gather(*map(join, calls))


def _right(calls: Sequence[DemoCall]) -> str:
    answers = [answer for call in calls for answer in call.answers if answer.counts]
    return f"{sum(answer.right for answer in answers)} of {len(answers)} answers exactly right"


def latencies(cluster: LocalCluster) -> str:
    """The table: every hop as the gateway saw it, then where the workers spent the time."""
    hops = histograms(scrape(cluster.metrics_url("gateway-0")), "moshi_gateway_hop_seconds", "hop")
    rows = [(hop, hops[hop]) for hop in _GATEWAY_HOPS if hop in hops]
    for service in ("codec", "lm"):
        metrics = scrape(cluster.metrics_url(f"{service}-0"))
        for part in ("queue", "step"):
            found = histograms(metrics, f"moshi_{service}_{part}_seconds", "program")
            rows += [(_title(service, program, part), histogram) for program, histogram in sorted(found.items())]
    return table(rows)


def _title(service: str, program: str, part: str) -> str:
    return " ".join(dict.fromkeys(("  in", service, program, part)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.demo", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--checkpoint", help="folder or owner/name[@revision]; the demo model if absent")
    parser.add_argument("--callers", type=int, choices=range(1, 7), default=4, help="at once, 4 if absent")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for both voices of every call")
    parser.add_argument("--logs", type=Path, help="folder to keep the services' logs in")
    return parser


if __name__ == "__main__":
    sys.exit(main())
