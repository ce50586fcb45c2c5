"""SIGSTOP for a pod's process, from a pod that sees the node's: nothing within its own could stop process 1."""

from __future__ import annotations

from benchmarks.cluster_check.errors import CheckFailed
from benchmarks.cluster_check.job import NAMESPACE, pod_spec
from benchmarks.cluster_check.kubectl import apply, get, kubectl

# The same user may signal it; what it is called by is the container's id in its cgroup.
_PROGRAM = """
import os, signal, sys
stopped = 0
for process in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{process}/cgroup") as file:
            if sys.argv[1] in file.read():
                os.kill(int(process), signal.SIGSTOP)
                stopped += 1
    except (FileNotFoundError, ProcessLookupError):
        pass
print(stopped)
"""


def stop_process(namespace: str, pod: str, image: str) -> None:
    """Stops every process of the pod's first container. Raises CheckFailed where none is found."""
    found = get(namespace, "pod", pod)
    container_id = found["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    spec = pod_spec("stop", image, ["python", "-c", _PROGRAM, container_id], {}, hostPID=True)
    spec["nodeName"] = found["spec"]["nodeName"]
    kubectl("-n", NAMESPACE, "delete", "pod", "stop", "--ignore-not-found")
    apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stop", "namespace": NAMESPACE}, "spec": spec})
    kubectl("-n", NAMESPACE, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/stop", "--timeout=30s")
    if kubectl("-n", NAMESPACE, "logs", "stop").strip() == "0":
        raise CheckFailed(f"no process of {pod} was found on its node")
