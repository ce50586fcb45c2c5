"""Check of a real cluster, `make cluster-check`, `python -m benchmarks.cluster_check`: it is hurt while people talk.

Against the cluster that KUBECONFIG names, with kubectl on the PATH. Applies an overlay, waits until it serves, and has
callers in a Job of the cluster for each scenario. Exit status: 0 everything held, 1 the check failed, 2 usage, 3 a
promise was broken.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.cluster_check import access
from benchmarks.cluster_check.errors import CheckFailed
from benchmarks.cluster_check.job import NAMESPACE, CallersJob
from benchmarks.cluster_check.kubectl import apply, kubectl, settle
from benchmarks.cluster_check.report import HEADER, Outcome
from benchmarks.cluster_check.scenarios import ONE, SCENARIOS, SERVICES, Scenario, prepare
from benchmarks.columns import columns

OVERLAY = "deploy/k8s/overlays/demo"
IMAGES = tuple(f"moshi-cluster/{service}:latest" for service in ("gateway", "codec", "lm"))
SERVES_WITHIN_S = 60.0
_EXIT_BROKEN = 3
_BEFORE_S = 3.0  # of calm, with everybody up


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    everything = {name: scenario.summary for name, scenario in SCENARIOS.items()} | access.SUMMARIES
    listing = "\n".join(f"  {name:<16} {summary}" for name, summary in everything.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster_check",
        description="A cluster is hurt while people talk.",
        epilog=f"scenarios:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="all if none is named")
    parser.add_argument("--overlay", default=OVERLAY, help=f"{OVERLAY} if absent")
    parser.add_argument("--namespace", default="moshi", help="that the overlay names")
    parser.add_argument("--load", metavar="COMMAND", help="run for each {image} first, for clusters without a registry")
    parser.add_argument("--calls", type=int, default=8, help="long ones, 8 if absent")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of them, 60 if absent")
    parser.add_argument("--every", type=float, default=0.25, help="seconds between new calls, 0.25 if absent")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.scenarios if name not in everything]:
        parser.error(f"no scenario is called {unknown[0]}")
    try:
        return _check(arguments, arguments.scenarios or list(everything))
    except CheckFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _check(arguments: argparse.Namespace, names: Sequence[str]) -> int:
    load(arguments.load)
    deploy(arguments.overlay, arguments.namespace)
    outcomes = [_outcome(name, SCENARIOS[name], arguments) for name in names if name in SCENARIOS]
    found = [
        line
        for name in names
        if name in access.SUMMARIES
        for line in access.check(name, arguments.namespace, IMAGES[0])
    ]
    prepare(arguments.namespace, ONE)
    print(columns([HEADER, *(outcome.row() for outcome in outcomes)]) if outcomes else "")
    print("\n".join(line.text for line in found))
    broken = [sentence for outcome in outcomes for sentence in outcome.broken()]
    broken += [line.text for line in found if not line.holds]
    print("\n".join(f"broken: {sentence}" for sentence in broken))
    return _EXIT_BROKEN if broken else 0


def load(command: str | None) -> None:
    """Has each image put into the cluster. Raises CheckFailed."""
    for image in IMAGES if command else ():
        assert command is not None
        if subprocess.run(["sh", "-c", command.replace("{image}", image)]).returncode:
            raise CheckFailed(f"{image} could not be loaded")


def deploy(overlay: str, namespace: str) -> None:
    """Applies the overlay as it is; it serves within a minute. Raises CheckFailed."""
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}  # one scenario looks at the node's processes
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    there = kubectl("-n", namespace, "get", "deployments", "-o", "name").split()
    begin_s = time.monotonic()
    kubectl("apply", "--server-side", "--force-conflicts", "--validate=strict", "-k", overlay)
    if restarted := [f"deployment/{service}" for service in SERVICES if f"deployment.apps/{service}" in there]:
        kubectl("-n", namespace, "rollout", "restart", *restarted)  # images of the same name may be new
    settle(namespace, SERVES_WITHIN_S)
    _say(f"{overlay} serves after {time.monotonic() - begin_s:.0f} s")


def _outcome(name: str, scenario: Scenario, arguments: argparse.Namespace) -> Outcome:
    _say(f"{name}: {scenario.summary}")
    prepare(arguments.namespace, scenario.replicas)
    target = f"gateway.{arguments.namespace}.svc:50051"
    with CallersJob(IMAGES[0], target, arguments.calls, arguments.seconds, arguments.every) as job:
        job.wait_until_up(arguments.calls)
        time.sleep(_BEFORE_S)
        begin_s = time.monotonic()
        scenario.happen(arguments.namespace, IMAGES[0])
        took_s = time.monotonic() - begin_s
        talks = job.talks()
    outcome = Outcome(scenario.summary, scenario.limits, talks, took_s)
    _say("  ".join(f"{title or 'of'} {cell}" for title, cell in zip(HEADER, outcome.row(), strict=True) if cell))
    for sentence in outcome.broken():
        _say(f"broken: {sentence}")
    return outcome


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
