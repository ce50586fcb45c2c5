"""Callers' Job, and what its pods and others of the check may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cluster_check.follow import START_TIMEOUT_S, FollowedCallers
from benchmarks.cluster_check.kubectl import apply, kubectl

NAMESPACE = "moshi-check"  # strangers to the cluster's own: no policy of theirs concerns it
PROGRAM = "benchmarks.cluster_check.callers"
_ROOT = Path(__file__).resolve().parents[2]
_FILES = ("benchmarks/cluster_check/callers.py", "benchmarks/online/playback.py")


class CallersJob(FollowedCallers):
    """Callers within the cluster."""

    def __init__(self, image: str, target: str, calls: int, seconds: float, every_s: float) -> None:
        options = ["--target", target, "--calls", str(calls), "--seconds", str(seconds), "--every", str(every_s)]
        kubectl("-n", NAMESPACE, "delete", "job", "callers", "--ignore-not-found", "--cascade=foreground")
        apply(_files(), _job(image, options))
        ready = ["wait", "--for=jsonpath={.status.ready}=1", "job/callers", f"--timeout={START_TIMEOUT_S:g}s"]
        super().__init__(
            ["kubectl", "-n", NAMESPACE, "logs", "-f", "job/callers"],
            seconds,
            lambda: kubectl("-n", NAMESPACE, *ready, timeout_s=2 * START_TIMEOUT_S),
        )


def pod_spec(
    name: str, image: str, command: Sequence[str], container: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """A pod's specification, as safe as the cluster's own. container, more: what is added to it."""
    usual = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsUser": 10001, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [usual | dict(container)],
        **more,
    }


def _files() -> dict[str, Any]:
    data = {Path(file).name: (_ROOT / file).read_text() for file in _FILES}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "callers", "namespace": NAMESPACE},
        "data": data,
    }


def _job(image: str, options: list[str]) -> dict[str, Any]:
    files = {"name": "callers", "items": [{"key": Path(file).name, "path": file} for file in _FILES]}
    container = {
        "env": [{"name": "PYTHONPATH", "value": "/check:/app"}, {"name": "PYTHONUNBUFFERED", "value": "1"}],
        "volumeMounts": [{"name": "files", "mountPath": "/check"}],
    }
    spec = pod_spec(
        "callers",
        image,
        ["python", "-m", PROGRAM, *options],
        container=container,
        volumes=[{"name": "files", "configMap": files}],
    )
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "callers", "namespace": NAMESPACE},
        "spec": {"backoffLimit": 0, "template": {"spec": spec}},
    }
