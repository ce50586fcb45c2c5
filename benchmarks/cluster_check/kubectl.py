"""The cluster that KUBECONFIG names, through kubectl."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from benchmarks.cluster_check.errors import CheckFailed
from benchmarks.cluster_check.patience import until


def kubectl(*arguments: str, given: str | None = None, timeout_s: float = 60.0) -> str:
    """What kubectl prints. given: its standard input. Raises CheckFailed with what it complains of."""
    try:
        done = subprocess.run(["kubectl", *arguments], input=given, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"kubectl {' '.join(arguments)}: no end within {timeout_s:g} s") from None
    if done.returncode:
        raise CheckFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def get(namespace: str, *what: str) -> Any:
    """Objects as the API server has them."""
    return json.loads(kubectl("-n", namespace, "get", *what, "-o", "json"))


def apply(*objects: dict[str, Any]) -> None:
    """Creates or changes objects, which name their namespaces."""
    kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def pods(namespace: str, name: str) -> list[str]:
    """Names of the pods of one service that are not on their way out, the oldest first."""
    found = get(namespace, "pods", "-l", f"app.kubernetes.io/name={name}", "--sort-by=.metadata.creationTimestamp")
    return [one["metadata"]["name"] for one in found["items"] if "deletionTimestamp" not in one["metadata"]]


def settle(namespace: str, timeout_s: float = 300.0) -> None:
    """Returns when every Deployment has what it asks for, and no pod is on its way out."""
    for deployment in get(namespace, "deployments")["items"]:
        name = deployment["metadata"]["name"]
        kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", timeout_s=timeout_s)
    until(lambda: not _leaving(namespace), timeout_s, "pods end")


def _leaving(namespace: str) -> list[str]:
    found = get(namespace, "pods", "-l", "app.kubernetes.io/part-of=moshi-cluster")
    return [one["metadata"]["name"] for one in found["items"] if "deletionTimestamp" in one["metadata"]]
