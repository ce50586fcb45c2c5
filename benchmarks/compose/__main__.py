"""Check of docker-compose.yml, `make compose-check`, `python -m benchmarks.compose`: it is hurt while people talk.

With the images of `make images` and podman or Docker. Starts the compose file under a name and on ports of its own,
has callers come through the published ports, and stops everything. Exit status: 0 everything held, 1 the check failed,
2 usage, 3 a promise was broken, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.cluster_check.errors import CheckFailed
from benchmarks.cluster_check.follow import FollowedCallers
from benchmarks.cluster_check.patience import until
from benchmarks.cluster_check.report import HEADER, Outcome
from benchmarks.columns import columns
from benchmarks.compose.containers import PORTS, Containers
from benchmarks.compose.scenarios import ONE, SCENARIOS, Scenario
from moshi_cluster.cluster.direct_http import open_direct
from moshi_cluster.cluster.ports import LOOPBACK, free_ports
from moshi_cluster.cluster.running_cluster import EXIT_FAILED, exit_code, say

SERVES_WITHIN_S = 60.0
STOP_GRACE_S = 45.0  # stop_grace_period
PROMETHEUS_IMAGE = "docker.io/prom/prometheus:v3.5.0"
_EXIT_BROKEN = 3
_EVAL_CALLERS, _EVAL_TIMEOUT_S = 6, 600.0
_SCRAPED_WITHIN_S = 60.0
_BEFORE_S = 3.0  # of calm, with everybody up
OTHERS = {
    "eval": "the recorded evaluation through the published port",
    "prometheus": "Prometheus scrapes every container (profile monitoring)",
    "stop": "SIGTERM of everything with calls up",
}


@dataclass(frozen=True)
class Ports:
    """Where the containers are published on this machine."""

    grpc: int
    http: int
    prometheus: int

    def variables(self) -> dict[str, str]:
        """Of docker-compose.yml: what the shell or .env may say is not what is checked."""
        return {
            "MOSHI_BIND": LOOPBACK,
            "MOSHI_GRPC_PORTS": str(self.grpc),
            "MOSHI_HTTP_PORTS": str(self.http),
            "MOSHI_PROMETHEUS_PORT": str(self.prometheus),
            **dict.fromkeys(("MOSHI_IMAGES", "MOSHI_TAG", "MOSHI_CHECKPOINT", "MOSHI_TOKENS", "MOSHI_STORE_KEYS"), ""),
        }


class ComposeCheck:
    """One run."""

    def __init__(self, containers: Containers, ports: Ports, calls: int, seconds: float) -> None:
        """calls, seconds: how many, and how long each of them is."""
        self._containers, self._ports = containers, ports
        self._calls, self._seconds = calls, seconds
        self.outcomes: list[Outcome] = []
        self.lines: list[str] = []
        self.broken: list[str] = []

    def scenario(self, name: str, scenario: Scenario) -> None:
        """People talk while it happens."""
        say(f"{name}: {scenario.summary}")
        self._containers.up(**scenario.counts)
        with self._callers(every_s=0.5) as callers:
            callers.wait_until_up(self._calls)
            time.sleep(_BEFORE_S)
            begin_s = time.monotonic()
            told = scenario.happen(self._containers)
            took_s = time.monotonic() - begin_s
            talks = callers.talks()
        outcome = Outcome(scenario.summary, scenario.limits, talks, took_s)
        say("  ".join(f"{title or 'of'} {cell}" for title, cell in zip(HEADER, outcome.row(), strict=True) if cell))
        self.outcomes.append(outcome)
        self.broken += outcome.broken()
        self.tell(f"{scenario.summary}: {told.text}", told.holds)

    def eval(self) -> None:
        """The recorded evaluation holds the model card's figures."""
        options = ["--recorded", "--callers", str(_EVAL_CALLERS), "--target", self._target]
        command = [sys.executable, "-m", "training.evaluate.live", *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=_EVAL_TIMEOUT_S)
        last = done.stdout.strip().rpartition("\n")[2]
        self.tell(f"make eval EVAL='{' '.join(options)}': {last}", done.returncode == 0)

    def prometheus(self) -> None:
        """Every container is a target that is up."""
        if not self._containers.can_pull(PROMETHEUS_IMAGE):
            self.tell(f"Prometheus: not looked at, {PROMETHEUS_IMAGE} cannot be had", True)
            return
        self._containers.start("prometheus")
        wanted = sorted(service for service in PORTS for _ in self._containers.ids(service))
        url = f"http://{LOOPBACK}:{self._ports.prometheus}/api/v1/targets?state=active"
        up: list[str] = []

        def all_up() -> bool:
            try:
                with open_direct(url, 5.0) as answer:
                    targets = json.load(answer)["data"]["activeTargets"]
            except (OSError, ValueError):
                return False
            up[:] = sorted(each["labels"]["job"] for each in targets if each["health"] == "up")
            return up == wanted

        try:
            until(all_up, _SCRAPED_WITHIN_S, "every container is scraped")
        except CheckFailed:
            self.tell(f"Prometheus scrapes {up}, and {wanted} run", False)
        else:
            self.tell(f"Prometheus scrapes {', '.join(up)}", True)

    def stop(self) -> None:
        """Everything ends by itself within its grace, though there are calls."""
        all_ids = {service: self._containers.ids(service) for service in PORTS}
        with self._callers(every_s=0.0) as callers:
            callers.wait_until_up(self._calls)
            begin_s = time.monotonic()
            self._containers.compose("stop")
            took_s = time.monotonic() - begin_s
        codes = {
            service: [self._containers.state(each)["ExitCode"] for each in ids] for service, ids in all_ids.items()
        }
        fine = took_s < STOP_GRACE_S and not any(code for each in codes.values() for code in each)
        told = ", ".join(f"{service} {' '.join(map(str, each))}" for service, each in codes.items())
        self.tell(f"SIGTERM of everything with {self._calls} calls up: {took_s:.1f} s; exit codes: {told}", fine)

    def report(self) -> str:
        """The table, what else was seen, and a sentence for each promise that was broken."""
        table = columns([HEADER, *(outcome.row() for outcome in self.outcomes)]) if self.outcomes else ""
        return "\n".join([table, *self.lines, *(f"broken: {sentence}" for sentence in self.broken)])

    @property
    def _target(self) -> str:
        return f"{LOOPBACK}:{self._ports.grpc}"

    def _callers(self, every_s: float) -> FollowedCallers:
        program = [sys.executable, "-m", "benchmarks.cluster_check.callers", "--target", self._target]
        options = ["--calls", str(self._calls), "--seconds", str(self._seconds), "--every", str(every_s)]
        return FollowedCallers([*program, *options], self._seconds)

    def tell(self, line: str, holds: bool) -> None:
        say(line)
        self.lines.append(line)
        if not holds:
            self.broken.append(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    everything = {name: scenario.summary for name, scenario in SCENARIOS.items()} | OTHERS
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compose",
        description="docker-compose.yml is hurt while people talk.",
        epilog="\n".join(["scenarios:", *(f"  {name:<16} {summary}" for name, summary in everything.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="all if none is named")
    parser.add_argument("--calls", type=int, default=8, help="8 if absent")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of them, 60 if absent")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.scenarios if name not in everything]:
        parser.error(f"no scenario is called {unknown[0]}")
    names = [name for name in everything if name in (arguments.scenarios or everything)]
    return exit_code(lambda: _checked(arguments, names))


def _checked(arguments: argparse.Namespace, names: Sequence[str]) -> int:
    try:
        return _check(arguments, names)
    except CheckFailed as error:
        say(f"error: {error}")
        return EXIT_FAILED


def _check(arguments: argparse.Namespace, names: Sequence[str]) -> int:
    ports = Ports(*free_ports(3))
    with Containers(ports.variables()) as containers:
        for service in PORTS:
            image = f"moshi-cluster/{service}:latest"
            if not containers.has_image(image):
                raise CheckFailed(f"no image {image}: `make images` builds it")
            say(f"{image}: {containers.image_mb(image)} MB")
        check = ComposeCheck(containers, ports, arguments.calls, arguments.seconds)
        took_s = containers.up(**ONE)
        check.tell(f"{containers.engine}: one of each serves after {took_s:.0f} s", took_s < SERVES_WITHIN_S)
        for name in names:
            _run(name, check)
        print(check.report())
    return _EXIT_BROKEN if check.broken else 0


def _run(name: str, check: ComposeCheck) -> None:
    if name in SCENARIOS:
        check.scenario(name, SCENARIOS[name])
    else:
        others: dict[str, Callable[[], None]] = {"eval": check.eval, "prometheus": check.prometheus, "stop": check.stop}
        others[name]()


if __name__ == "__main__":
    sys.exit(main())
