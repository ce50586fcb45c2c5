"""The containers of docker-compose.yml, through podman or Docker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.cluster_check.errors import CheckFailed
from benchmarks.cluster_check.patience import until

PORTS = {"gateway": 50051, "codec": 50052, "lm": 50053}
UP_TIMEOUT_S = 120.0
_PROJECT = "moshi-check"
_COMMAND_TIMEOUT_S = 300.0
_SOCKET_TIMEOUT_S = 20.0
# Kills what the first process looks after, as a crash would: that one ends, too, and the engine starts them again.
_CRASH = (
    "import os; [os.kill(int(p), 9) for p in os.listdir('/proc') if p.isdigit() and int(p) not in (1, os.getpid())]"
)


class Containers:
    """A context manager: entering finds the engine and its Compose, leaving removes every container.

    ENGINE of the environment names the engine, where it is not the first of podman and docker. Raises CheckFailed from
    every method.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        """variables: of docker-compose.yml."""
        self._environment = {**os.environ, **variables}
        self._folder = tempfile.TemporaryDirectory(prefix="moshi-compose-")
        self._socket_server: subprocess.Popen[bytes] | None = None
        self._engine, self._compose = "", [""]

    def __enter__(self) -> Self:
        self._engine = os.environ.get("ENGINE") or shutil.which("podman") or shutil.which("docker") or ""
        if not self._engine:
            raise CheckFailed("neither podman nor docker is there")
        if Path(self._engine).name == "podman":
            self._compose = [_compose_program()]
            self._serve_socket()
        else:
            self._compose = [self._engine, "compose"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
        except CheckFailed:
            if error is None:  # else it is the reason of this one, most likely
                raise
        finally:
            if self._socket_server is not None:
                self._socket_server.terminate()
                self._socket_server.wait()
            self._folder.cleanup()

    @property
    def engine(self) -> str:
        """Name and version."""
        return self._run([self._engine, "--version"]).strip()

    def compose(self, *arguments: str) -> str:
        """What Compose prints."""
        return self._run([*self._compose, "--project-name", _PROJECT, *arguments])

    def has_image(self, name: str) -> bool:
        """Whether it is there or can be had."""
        command = [self._engine, "image", "inspect", name]
        if subprocess.run(command, env=self._environment, capture_output=True).returncode == 0:
            return True
        pull = [self._engine, "pull", "--quiet", name]
        return subprocess.run(pull, env=self._environment, capture_output=True).returncode == 0

    def image_mb(self, name: str) -> int:
        """How large an image is."""
        return int(self._run([self._engine, "image", "inspect", "--format", "{{.Size}}", name])) // 1_000_000

    def up(self, **counts: int) -> float:
        """Seconds until so many of each service serve. Those that are there are left alone."""
        begin_s = time.monotonic()
        scales = [option for service, count in counts.items() for option in ("--scale", f"{service}={count}")]
        self.compose("up", "--detach", "--no-build", "--no-recreate", *scales)
        for service, count in counts.items():
            until(
                lambda service=service, count=count: self._serving(service) == count,  # type: ignore[misc]
                UP_TIMEOUT_S,
                f"{count} of {service} serve",
            )
        return time.monotonic() - begin_s

    def crash(self, service: str) -> str:
        """Kills the process in a container of a service; returns the container."""
        first = self.ids(service)[0]
        command = [self._engine, "exec", first, "python", "-c", _CRASH]
        subprocess.run(command, env=self._environment, capture_output=True, timeout=_COMMAND_TIMEOUT_S)  # dies of it
        return first

    def kill(self, service: str) -> str:
        """Kills a container of a service, which the engine does not start again; returns it."""
        first = self.ids(service)[0]
        self._run([self._engine, "kill", first])
        return first

    def serves(self, container: str, service: str) -> bool:
        """Whether its health is SERVING."""
        probe = ["exec", container, "python", "-m", "services.common.probe", f"127.0.0.1:{PORTS[service]}"]
        return subprocess.run([self._engine, *probe], env=self._environment, capture_output=True).returncode == 0

    def ids(self, service: str) -> list[str]:
        """Of the containers that run."""
        return self.compose("ps", "--quiet", service).split()

    def state(self, container: str) -> Any:
        """As the engine has it: Running, ExitCode, OOMKilled."""
        return json.loads(self._run([self._engine, "container", "inspect", container]))[0]["State"]

    def _serving(self, service: str) -> int:
        return sum(self.serves(container, service) for container in self.ids(service))

    def _run(self, command: Sequence[str]) -> str:
        try:
            done = subprocess.run(
                command, env=self._environment, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"{' '.join(command)}: no end within {_COMMAND_TIMEOUT_S:g} s") from None
        if done.returncode:
            raise CheckFailed(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def _serve_socket(self) -> None:
        """podman's own Docker API, which Compose speaks."""
        socket = Path(self._folder.name) / "podman.sock"
        address = f"unix://{socket}"
        self._socket_server = subprocess.Popen(
            [self._engine, "system", "service", "--time=0", address],
            env=self._environment,
            stderr=subprocess.DEVNULL,
        )
        until(socket.exists, _SOCKET_TIMEOUT_S, "podman's socket is there")
        self._environment["DOCKER_HOST"] = address


def _compose_program() -> str:
    """Docker Compose beside podman: on the PATH, or of `make deploy-check`."""
    beside = Path(sys.prefix).with_name(".venv-deploy") / "bin/docker-compose"
    found = shutil.which("docker-compose") or (str(beside) if beside.exists() else "")
    if not found:
        raise CheckFailed("podman is there, but no docker-compose: `make deploy-check` installs one")
    return found
