"""Who gets in: network policies, and tokens that change while the gateways run."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.cluster_check.job import NAMESPACE, pod_spec
from benchmarks.cluster_check.kubectl import apply, get, kubectl, pods, settle
from benchmarks.cluster_check.line import Line

SUMMARIES = {
    "policies": "who reaches which port",
    "tokens": "the Secret of tokens changes without a restart",
}
METRICS = {"gateway": "gateway:9101", "codec": "codec:9102", "lm": "lm:9103"}
_WORKERS = {"codec:50052", "lm:50053"}
_METRICS = set(METRICS.values())
# Where from (None: the cluster's namespace) and as whom (None: a gateway itself), which doors open, which stay shut.
_VISITORS: dict[str, tuple[str | None, dict[str, str] | None, set[str], set[str]]] = {
    "a stranger of the same namespace": (None, {}, set(), _WORKERS | _METRICS),
    "a stranger of another namespace": (NAMESPACE, {}, {"gateway:50051"}, _WORKERS | _METRICS),
    "Prometheus": (NAMESPACE, {"app.kubernetes.io/name": "prometheus"}, _METRICS, _WORKERS),
    "a gateway": (None, None, _WORKERS, {"codec:9102", "lm:9103"}),
}
_TOKENS_PATIENCE_S = 180.0  # a kubelet looks after its Secrets about once a minute

# Says of each host:port whether it takes a connection within ten seconds: the network needs some to know a new pod.
_KNOCK = """
import json, socket, sys, threading, time
until, opens = time.monotonic() + 10, dict.fromkeys(sys.argv[1:], False)
def knock(target):
    host, _, port = target.rpartition(":")
    while not opens[target] and time.monotonic() < until:
        try:
            socket.create_connection((host, int(port)), 3).close()
            opens[target] = True
        except OSError:
            time.sleep(0.5)
threads = [threading.Thread(target=knock, args=[target]) for target in opens]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(opens))
"""
# Prints how a call with the token of $MOSHI_TOKEN begins: `started`, or its status.
_CALL = """
import os, grpc
from moshi_cluster.v1 import gateway_pb2, gateway_pb2_grpc
start = gateway_pb2.Start(input_format={"encoding": "ENCODING_MULAW", "sample_rate_hz": 8000})
metadata = [("authorization", "Bearer " + os.environ["MOSHI_TOKEN"])]
with grpc.insecure_channel(os.environ["TARGET"]) as channel:
    try:
        converse = gateway_pb2_grpc.GatewayStub(channel).Converse
        replies = converse(iter([gateway_pb2.ConverseRequest(start=start)]), metadata=metadata, timeout=20)
        print(next(replies).WhichOneof("message"))
    except grpc.RpcError as error:
        print(error.code().name)
"""


def check(name: str, namespace: str, image: str) -> Iterator[Line]:
    """What was found, a line each."""
    return {"policies": _policies, "tokens": _tokens}[name](namespace, image)


def _policies(namespace: str, image: str) -> Iterator[Line]:
    host = {service: _address(namespace, service) for service in METRICS}
    for who, (where, labels, opens, shut) in _VISITORS.items():
        doors = {f"{host[door.partition(':')[0]]}:{door.partition(':')[2]}": door for door in (*opens, *shut)}
        knocked = _knock(namespace if where is None else where, labels, image, list(doors))
        reached = {doors[address] for address, opened in knocked.items() if opened}
        yield Line(
            f"{who}: let in at {_listed(reached)}, not at {_listed({*opens, *shut} - reached)}", reached == opens
        )
    ready = all(
        get(namespace, "pod", pods(namespace, each)[0])["status"]["containerStatuses"][0]["ready"] for each in host
    )
    yield Line(f"probes {'pass' if ready else 'do not pass'}", ready)


def _knock(where: str, labels: Mapping[str, str] | None, image: str, doors: Sequence[str]) -> dict[str, bool]:
    """Which host:port open; labels: of the pod that tries, None: a gateway itself."""
    if labels is None:
        found = kubectl("-n", where, "exec", pods(where, "gateway")[0], "--", "python", "-c", _KNOCK, *doors)
    else:
        found = _run(where, "knock", image, ["python", "-c", _KNOCK, *doors], labels)
    answers: dict[str, bool] = json.loads(found)
    return answers


def _tokens(namespace: str, image: str) -> Iterator[Line]:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tokens", "namespace": namespace}}
    apply(secret | {"stringData": {"tokens": "first-token\n"}})
    with tempfile.TemporaryDirectory(dir=".") as folder:  # kustomize knows no absolute paths
        base = os.path.relpath("deploy/k8s", folder)
        kustomization = {"resources": [f"{base}/overlays/demo"], "components": [f"{base}/components/tokens"]}
        Path(folder, "kustomization.yaml").write_text(json.dumps(kustomization))
        kubectl("apply", "--server-side", "--force-conflicts", "-k", folder)
    settle(namespace)
    before = pods(namespace, "gateway")
    yield Line("the first token is let in, another is not", _let_in(namespace, image) == ["started", "UNAUTHENTICATED"])
    apply(secret | {"stringData": {"tokens": "second-token\n"}})
    begin_s = time.monotonic()
    while (answers := _let_in(namespace, image)) != ["UNAUTHENTICATED", "started"]:
        if time.monotonic() > begin_s + _TOKENS_PATIENCE_S:
            break
    changed = answers == ["UNAUTHENTICATED", "started"] and pods(namespace, "gateway") == before
    took = f"after {time.monotonic() - begin_s:.0f} s" if changed else f"not within {_TOKENS_PATIENCE_S:g} s: {answers}"
    yield Line(f"the second one in its place, no gateway started anew: {took}", changed)


def _let_in(namespace: str, image: str) -> list[str]:
    """How every gateway answers the first and the second token; they differ while one of them knows no better."""
    pods_now = [get(namespace, "pod", pod)["status"]["podIP"] for pod in pods(namespace, "gateway")]
    answers = []
    for token in ("first-token", "second-token"):
        of_each = {_call(image, f"{address}:50051", token) for address in pods_now}
        answers.append(of_each.pop() if len(of_each) == 1 else "both")
    return answers


def _call(image: str, target: str, token: str) -> str:
    env = [{"name": "TARGET", "value": target}, {"name": "MOSHI_TOKEN", "value": token}]
    return _run(NAMESPACE, "caller", image, ["python", "-c", _CALL], {}, env).strip()


def _run(
    where: str,
    name: str,
    image: str,
    command: Sequence[str],
    labels: Mapping[str, str],
    env: Sequence[Mapping[str, str]] = (),
) -> str:
    """What a pod of its own prints."""
    metadata = {"name": name, "namespace": where, "labels": dict(labels)}
    spec = pod_spec(name, image, command, {"env": list(env)})
    kubectl("-n", where, "delete", "pod", name, "--ignore-not-found")
    apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    kubectl(
        "-n", where, "wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=60s", timeout_s=70
    )
    printed = kubectl("-n", where, "logs", name)
    kubectl("-n", where, "delete", "pod", name)
    return printed


def _address(namespace: str, service: str) -> str:
    return str(get(namespace, "pod", pods(namespace, service)[0])["status"]["podIP"])


def _listed(doors: set[str]) -> str:
    return ", ".join(sorted(doors)) or "none"
