"""Abuse, `python -m benchmarks.abuse [FLOOD ...]`: callers of a cluster of this machine beside floods, in turn.

It starts its own cluster on loopback and attacks nothing else. Exit status 3 when callers were answered later than
100 ms and twice their time without the flood (p99), lost a call or a frame, or a service grew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks.abuse.beside import FLOODS, Round, beside, call_s, flooding_process
from benchmarks.abuse.flood import Ports
from benchmarks.abuse.verdict import broken, figures, table
from benchmarks.machine import machine
from benchmarks.online.caller import Caller
from benchmarks.online.driver import RunOptions, make_callers
from benchmarks.online.scenarios import SCENARIOS, Size
from benchmarks.online.speech import LineFormat, speech_messages
from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE
from moshi_cluster.cluster.local_cluster import LocalCluster
from moshi_cluster.cluster.running_cluster import exit_code, running_cluster, say

_EXIT_BROKEN = 3
_TOKEN = "of-the-callers"
_FREE_SLOTS = 4
_LINE = LineFormat("mulaw", 8000, packet_ms=20, reply_packet_ms=20)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    floods = "\n".join(f"  {name:<30} {flood.summary}" for name, flood in FLOODS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.abuse",
        description=__doc__,
        epilog=f"floods, all if none is named:\n{floods}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("floods", nargs="*", metavar="FLOOD", help="see below")
    parser.add_argument("--callers", type=int, default=4, help="honest ones, 4 if absent")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each flood, and before it; 8 if absent")
    parser.add_argument("--json", type=Path, help="all figures")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.floods if name not in FLOODS]:
        parser.error(f"no flood is called {unknown[0]}")
    return exit_code(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    with tempfile.NamedTemporaryFile("w", suffix=".tokens") as tokens:
        print(_TOKEN, file=tokens, flush=True)
        environment = {"MOSHI_GATEWAY_TOKEN_FILE": tokens.name, "MOSHI_GATEWAY_HTTP": "true"}
        with running_cluster(None, environment=environment, slots=arguments.callers + _FREE_SLOTS) as cluster:
            rounds = uvloop.run(_rounds(cluster, arguments.floods or list(FLOODS), arguments))
    print(table(rounds))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"machine": machine(), "rounds": [figures(one) for one in rounds]}, indent=1)
        )
    sentences = [sentence for one in rounds for sentence in broken(one)]
    for sentence in sentences:
        print(f"broken: {sentence}", file=sys.stderr)
    return _EXIT_BROKEN if sentences else 0


async def _rounds(cluster: LocalCluster, names: Sequence[str], arguments: argparse.Namespace) -> list[Round]:
    ports = Ports(cluster.address(), cluster.http_url().split("/")[2], cluster.address("lm-0"), _TOKEN)
    pids = {name: cluster.process_id(name) for name in cluster.names}
    rounds = []
    async with flooding_process() as process:
        for name in names:
            say(f"{name}: {FLOODS[name].summary}")
            callers = _callers(arguments.callers, call_s(arguments.seconds))
            rounds.append(await beside(process, name, ports, callers, pids, arguments.seconds))
            await asyncio.to_thread(cluster.check)
    return rounds


def _callers(count: int, seconds: float) -> list[Caller]:
    plan = SCENARIOS["steady"].plan(Size(count, seconds, seed=1, step_s=1.0))
    return make_callers(plan, RunOptions(_LINE), [speech_messages(DEMO_UTTERANCE, _LINE)])


if __name__ == "__main__":
    sys.exit(main())
