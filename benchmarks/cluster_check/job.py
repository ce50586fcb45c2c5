"""Callers' Job: made, awaited, and what it found."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from benchmarks.cluster_check.callers import Talk
from benchmarks.cluster_check.kubectl import CheckFailed, apply, kubectl

NAMESPACE = "moshi-check"  # strangers to the cluster's own: no policy of theirs concerns it
PROGRAM = "benchmarks.cluster_check.callers"
_ROOT = Path(__file__).resolve().parents[2]
_FILES = ("benchmarks/cluster_check/callers.py", "benchmarks/online/playback.py")
_START_TIMEOUT_S = 120.0
_END_PATIENCE_S = 180.0


class CallersJob:
    """Callers within the cluster."""

    def __init__(self, image: str, target: str, calls: int, seconds: float, every_s: float) -> None:
        self._seconds = seconds
        options = ["--target", target, "--calls", str(calls), "--seconds", str(seconds), "--every", str(every_s)]
        kubectl("-n", NAMESPACE, "delete", "job", "callers", "--ignore-not-found", "--cascade=foreground")
        apply(_files(), _job(image, options))
        self._lines: Queue[str] = Queue()
        threading.Thread(target=self._follow, daemon=True).start()

    def wait_until_up(self) -> int:
        """How many of the long calls are up."""
        return int(self._next("up", _START_TIMEOUT_S))

    def talks(self) -> list[Talk]:
        """What became of everybody, when it is over."""
        return [Talk(**each) for each in self._next("talks", self._seconds + _END_PATIENCE_S)]

    def _next(self, key: str, timeout_s: float) -> Any:
        try:
            line = self._lines.get(timeout=timeout_s)
        except Empty:
            raise CheckFailed(f"the callers said nothing of {key!r} within {timeout_s:g} s") from None
        try:
            return json.loads(line)[key]
        except (ValueError, KeyError):
            raise CheckFailed(f"the callers were to say {key!r}: {line}") from None

    def _follow(self) -> None:
        ready = ["wait", "--for=jsonpath={.status.ready}=1", "job/callers", f"--timeout={_START_TIMEOUT_S:g}s"]
        kubectl("-n", NAMESPACE, *ready, timeout_s=2 * _START_TIMEOUT_S)
        follow = ["kubectl", "-n", NAMESPACE, "logs", "-f", "job/callers"]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self._lines.put(line)


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
