"""Proof that calls survive, `make survive`, `python -m benchmarks.survive`: a cluster is hurt while people talk.

Two gateways, two codecs and two lm workers with the demo model, recorded callers in real time. Every scenario is
compared with an undisturbed run of the same callers. Exit status: 0 everything held, 1 the run failed, 2 usage, 3 a
promise was broken, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.machine import machine
from benchmarks.online.processes import ProcessWatch
from benchmarks.survive.conversation import voices
from benchmarks.survive.outcome import Judge, Outcome
from benchmarks.survive.random_faults import RANDOM, memory_over_time, run_random
from benchmarks.survive.run import Pace, Run, run
from benchmarks.survive.scenarios import SCENARIOS, UNDISTURBED
from benchmarks.survive.session_store import session_store
from benchmarks.survive.supervisor import Supervisor
from benchmarks.survive.verdict import broken, caution, figures, leaked, line, memory_table, table
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.cluster.running_cluster import exit_code, say

_EXIT_BROKEN = 3
_SLOTS = 24  # of every worker: one takes the calls of both


@dataclass
class Findings:
    """What is printed in the end."""

    outcomes: list[Outcome] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    scenarios = "\n".join(f"  {name:<14} {scenario.summary}" for name, scenario in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.survive",
        description="Calls survive what happens to the cluster, or not.",
        epilog=f"scenarios:\n{scenarios}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="all if none is named")
    parser.add_argument("--callers", type=int, default=8, help="who are there when it happens, 8 if absent")
    parser.add_argument("--random", action="store_true", help="instead: a random fault every 20 s, callers come and go")
    parser.add_argument("--minutes", type=float, default=20.0, help="of random faults, 20 if absent")
    parser.add_argument("--seed", type=int, default=1, help="of random faults and calls")
    parser.add_argument("--json", type=Path, help="all figures")
    parser.add_argument("--logs", type=Path, help="a folder that keeps the services' logs")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.scenarios if name not in SCENARIOS]:
        parser.error(f"no scenario is called {unknown[0]}")
    if arguments.random and arguments.scenarios:
        parser.error("--random takes no scenario")
    return exit_code(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    layout = Layout(str(DEFAULT_CHECKPOINT), codec_workers=2, lm_workers=2, gateways=2, slots=_SLOTS)
    proof = _random if arguments.random else _scenarios
    with session_store() as store, LocalCluster(layout, store, arguments.logs) as cluster:
        say(f"session store: {'a server of this run' if store else 'none, gateways keep their own conversations'}")
        found = uvloop.run(proof(Supervisor(cluster), arguments))
    print("\n\n".join(filter(None, [*found.tables, caution(found.outcomes)])))
    if arguments.json:
        steps = [figures(one) for one in found.outcomes]
        arguments.json.write_text(json.dumps({"machine": machine(), "steps": steps}, indent=1))
    for sentence in found.broken:
        print(f"broken: {sentence}", file=sys.stderr)
    return _EXIT_BROKEN if found.broken else 0


async def _scenarios(supervisor: Supervisor, arguments: argparse.Namespace) -> Findings:
    """The undisturbed run first: the others are compared with it."""
    found, callers, runs = Findings(), voices(arguments.callers), list[Run]()
    for name in [UNDISTURBED, *(name for name in arguments.scenarios or SCENARIOS if name != UNDISTURBED)]:
        say(f"{name}: {SCENARIOS[name].summary}")
        runs.append(await run(supervisor, name, SCENARIOS[name], callers, Pace(), say))
        undisturbed = runs[0].first_calls()
        judge = Judge(runs[-1].conversations, runs[-1].windows[0], undisturbed)
        for window in runs[-1].windows[1:] or runs[-1].windows:
            found.outcomes.append(judge.outcome(name, window))
            say(line(found.outcomes[-1]))
        found.broken += leaked(name, runs[-1].leaked_slots)
    found.tables = [table(found.outcomes), memory_table(runs)]
    found.broken += [sentence for one in found.outcomes for sentence in broken(one)]
    return found


async def _random(supervisor: Supervisor, arguments: argparse.Namespace) -> Findings:
    callers = voices(arguments.callers)
    undisturbed = await run(supervisor, UNDISTURBED, SCENARIOS[UNDISTURBED], callers, Pace(), say)
    watch = ProcessWatch(supervisor.process_ids)
    made = await run_random(
        supervisor, callers, undisturbed.first_calls(), arguments.seed, arguments.minutes, watch, say
    )
    total = f"{made.calls} calls, {len(made.outcomes)} faults in {arguments.minutes:g} minutes"
    found = Findings(made.outcomes, [table(made.by_kind()), memory_over_time(watch), total])
    found.broken = [sentence for one in made.outcomes for sentence in broken(one)]
    found.broken += leaked(RANDOM, made.leaked_slots)
    return found


if __name__ == "__main__":
    sys.exit(main())
