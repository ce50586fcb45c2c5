"""Checks of what deploys the system, without a cluster or a container engine: `make deploy-check`.

Each tool runs where it is there, and is named where it is not. Exit code 1: one of them found something.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = "deploy/check"
RENDERED = ROOT / "build/deploy-check"
COMPOSE_PROFILES = ("gpu", "triton", "monitoring", "store")

Command = list[str]


def main() -> int:
    """Runs all of them, with the programs of the environment that this Python belongs to first."""
    os.chdir(ROOT)
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    shutil.rmtree(RENDERED, ignore_errors=True)
    RENDERED.mkdir(parents=True)
    failed = [check.__name__ for check in CHECKS if not passes(check)]
    print(f"deploy-check: {', '.join(failed)} failed" if failed else "deploy-check: nothing found")
    return 1 if failed else 0


def passes(check: Callable[[], Iterator[Command]]) -> bool:
    """Whether all commands of a check find nothing; a tool that is not there finds nothing, and is named."""
    good, count = True, 0
    for command in check():
        if shutil.which(command[0]) is None:
            print(f"{check.__name__}: skipped, {command[0]} is not there")
            return good
        good, count = succeeds(command) and good, count + 1
    print(f"{check.__name__}: {f'{count} passed' if good else 'FAILED'}", flush=True)
    return good


def succeeds(command: Command) -> bool:
    """Runs a command; prints it with all that it said where it found something."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    if result.returncode != 0:
        print(f"$ {' '.join(command)}\n{result.stdout}")
    return result.returncode == 0


# --- the checks; each yields its commands


def dockerfile() -> Iterator[Command]:
    yield ["hadolint", "--config", f"{CONFIGURATIONS}/hadolint.yaml", "Dockerfile"]


def yaml() -> Iterator[Command]:
    yield ["yamllint", "--strict", "--config-file", f"{CONFIGURATIONS}/yamllint.yaml", "docker-compose.yml", "deploy"]


def compose() -> Iterator[Command]:
    files = ["--file", "docker-compose.yml"]
    yield ["docker-compose", *files, "config", "--quiet"]
    for profile in COMPOSE_PROFILES:
        yield ["docker-compose", *files, "--profile", profile, "config", "--quiet"]
    gpu = ["--file", "deploy/gpu/compose.yaml", "--profile", "gpu"]
    yield ["docker-compose", *files, *gpu, "config", "--quiet"]


def kustomize() -> Iterator[Command]:
    """Renders what `manifests` and `weaknesses` read."""
    for path in kustomizations():
        name = "-".join(path.relative_to("deploy").parts)
        yield ["kubectl", "kustomize", str(path), "--output", str(RENDERED / f"{name}.yaml")]


def kustomizations() -> list[Path]:
    """Folders that can be applied; a component is part of others."""
    found = sorted(Path("deploy/k8s").rglob("kustomization.yaml"))
    return [path.parent for path in found if "kind: Component" not in path.read_text()]


def manifests() -> Iterator[Command]:
    for path in sorted(RENDERED.glob("*.yaml")):
        yield ["kubernetes-validate", "--strict", "--quiet", str(path)]


def weaknesses() -> Iterator[Command]:
    """What is left out stands with its reason in checkov.yaml."""
    options = ["--config-file", f"{CONFIGURATIONS}/checkov.yaml", "--quiet", "--compact", "--skip-download"]
    files = [word for path in sorted(RENDERED.glob("*.yaml")) for word in ("--file", str(path))]
    yield ["checkov", *options, "--framework", "dockerfile", "kubernetes", "--file", "Dockerfile", *files]


def prometheus() -> Iterator[Command]:
    folder = Path("deploy/monitoring")
    for path in sorted(folder.glob("*.y*ml")):
        if "scrape_configs" in path.read_text():
            yield ["promtool", "check", "config", "--syntax-only", str(path)]
    for path in sorted(folder.rglob("*.y*ml")):
        text = path.read_text()
        if text.startswith("groups:") or "\ngroups:" in text:
            yield ["promtool", "check", "rules", str(path)]
        if "rule_files:" in text and "tests:" in text:
            yield ["promtool", "test", "rules", str(path)]


CHECKS = (dockerfile, yaml, compose, kustomize, manifests, weaknesses, prometheus)


if __name__ == "__main__":
    sys.exit(main())
