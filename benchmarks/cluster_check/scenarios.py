"""Scenarios of a cluster check: what is done to the cluster while people talk, and what they may notice of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.cluster_check.errors import CheckFailed
from benchmarks.cluster_check.kubectl import get, kubectl, pods, settle
from benchmarks.cluster_check.patience import until
from benchmarks.cluster_check.stop_process import stop_process

SERVICES = ("codec", "lm", "gateway")
ONE, TWO = {"codec": 1, "lm": 1, "gateway": 2}, dict.fromkeys(SERVICES, 2)
_ROLLOUT_TIMEOUT_S = 600.0
_PART = "app.kubernetes.io/part-of=moshi-cluster"


@dataclass(frozen=True)
class Limits:
    """What is promised; calls are never lost."""

    gap_s: float
    refusing_s: float = 0.0  # for how long calls that begin may be refused


@dataclass(frozen=True)
class Scenario:
    """One thing that happens to a cluster."""

    summary: str
    happen: Callable[[str, str], None]  # namespace, image
    limits: Limits
    replicas: Mapping[str, int]


def prepare(namespace: str, replicas: Mapping[str, int]) -> None:
    """As many of each service as the scenario begins with."""
    for service, count in replicas.items():
        _scale(namespace, service, count)
    settle(namespace, _ROLLOUT_TIMEOUT_S)


def _rollout(service: str) -> Callable[[str, str], None]:
    def happen(namespace: str, image: str) -> None:
        kubectl("-n", namespace, "rollout", "restart", f"deployment/{service}")
        _until_rolled_out(namespace, service)

    return happen


def _scale_there_and_back(namespace: str, image: str) -> None:
    _scale(namespace, "lm", 3)
    _until_rolled_out(namespace, "lm")
    time.sleep(5)  # calls begin on them
    _scale(namespace, "lm", 1)
    until(lambda: len(_all_pods(namespace, "lm")) == 1, _ROLLOUT_TIMEOUT_S, "two lms end")


def _force_delete(service: str) -> Callable[[str, str], None]:
    def happen(namespace: str, image: str) -> None:
        first = pods(namespace, service)[0]
        kubectl("-n", namespace, "delete", "pod", first, "--force", "--grace-period=0")

    return happen


def _stop(service: str) -> Callable[[str, str], None]:
    def happen(namespace: str, image: str) -> None:
        stop_process(namespace, pods(namespace, service)[0], image)

    return happen


def _drain(namespace: str, image: str) -> None:
    """The node of the first lm. Where there is no other, it takes pods again as soon as the drain has begun."""
    node = get(namespace, "pod", pods(namespace, "lm")[0])["spec"]["nodeName"]
    drain = ["drain", node, "--ignore-daemonsets", f"--pod-selector={_PART}", f"--timeout={_ROLLOUT_TIMEOUT_S:g}s"]
    old = {name for service in SERVICES for name in pods(namespace, service)}
    failed: list[CheckFailed] = []

    def run() -> None:
        try:
            kubectl(*drain, timeout_s=_ROLLOUT_TIMEOUT_S + 30)
        except CheckFailed as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        until(lambda: not old <= {name for each in SERVICES for name in pods(namespace, each)}, 60, "the drain begins")
        if len(get(namespace, "nodes")["items"]) == 1:
            kubectl("uncordon", node)
        thread.join(_ROLLOUT_TIMEOUT_S + 60)
    finally:
        kubectl("uncordon", node)
    if failed:
        raise failed[0]


SCENARIOS = {
    "rollout-gateway": Scenario("rollout restart of the gateways", _rollout("gateway"), Limits(3.0), ONE),
    "rollout-codec": Scenario("rollout restart of the codec", _rollout("codec"), Limits(3.0), ONE),
    "rollout-lm": Scenario("rollout restart of the lm", _rollout("lm"), Limits(3.0), ONE),
    "scale-lm": Scenario("lm scaled 1, 3, 1", _scale_there_and_back, Limits(5.0), ONE),
    "delete-codec": Scenario("a codec deleted by force", _force_delete("codec"), Limits(3.0, 2.0), TWO),
    "delete-lm": Scenario("an lm deleted by force", _force_delete("lm"), Limits(3.0, 2.0), TWO),
    "stop-codec": Scenario("SIGSTOP of a codec", _stop("codec"), Limits(3.0, 2.0), TWO),
    "stop-lm": Scenario("SIGSTOP of an lm", _stop("lm"), Limits(3.0, 2.0), TWO),
    # Callers of a drained gateway may have to wait for the session store, which was drained, too.
    "drain": Scenario("kubectl drain, two of each", _drain, Limits(10.0), TWO),
}


def _scale(namespace: str, service: str, count: int) -> None:
    kubectl("-n", namespace, "scale", f"deployment/{service}", f"--replicas={count}")


def _until_rolled_out(namespace: str, service: str) -> None:
    status = ["rollout", "status", f"deployment/{service}", f"--timeout={_ROLLOUT_TIMEOUT_S:g}s"]
    kubectl("-n", namespace, *status, timeout_s=_ROLLOUT_TIMEOUT_S + 10)


def _all_pods(namespace: str, service: str) -> list[str]:
    """Those that are on their way out included."""
    return [
        one["metadata"]["name"] for one in get(namespace, "pods", "-l", f"app.kubernetes.io/name={service}")["items"]
    ]
