"""The containers of docker-compose.yml, through podman or Docker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.cluster_check.errors import CheckFailed
from benchmarks.cluster_check.patience import until
from benchmarks.ending import end

PORTS = {"gateway": 50051, "codec": 50052, "lm": 50053}
UP_TIMEOUT_S = 120.0
_PROJECT = "moshi-check"
_COMMAND_TIMEOUT_S = 300.0
_PROBE_TIMEOUT_S = 20.0
_SOCKET_TIMEOUT_S, _SOCKET_END_S = 20.0, 5.0
# Kills what the first process looks after, as a crash would: that one ends, too, and the engine starts them again.
_CRASH = """
import contextlib, os
for process in filter(str.isdigit, os.listdir("/proc")):
    if int(process) not in (1, os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process), 9)
"""


class Containers:
    """A context manager: entering finds the engine and its Compose, leaving removes every container.

    ENGINE of the environment names the engine, where it is not the first of podman and docker. Raises CheckFailed from
    every method.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        """variables: of docker-compose.yml."""
        self._environment = {**os.environ, **variables}
        self._engine, self._compose = "", [""]
        self._running = ExitStack()

    def __enter__(self) -> Self:
        self._engine = os.environ.get("ENGINE") or shutil.which("podman") or shutil.which("docker") or ""
        if not self._engine:
            raise CheckFailed("neither podman nor docker is there")
        with ExitStack() as running:
            if Path(self._engine).name == "podman":
                self._compose = [_compose_program()]
                self._environment["DOCKER_HOST"] = running.enter_context(_socket_of(self._engine, self._environment))
            else:
                self._compose = [self._engine, "compose"]
            self._remove()  # what an earlier run that was killed has left
            self._running = running.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._running:
            try:
                self._remove()
            except CheckFailed as failure:
                if error is None:
                    raise
                print(f"error: containers may be left: {failure}", file=sys.stderr)

    @property
    def engine(self) -> str:
        """Name and version."""
        return self._run([self._engine, "--version"]).strip()

    def compose(self, *arguments: str) -> str:
        """What Compose prints."""
        return self._run([*self._compose, "--project-name", _PROJECT, *arguments])

    def has_image(self, name: str) -> bool:
        """Whether it is on this machine."""
        return self._finish([self._engine, "image", "inspect", name]).returncode == 0

    def can_pull(self, name: str) -> bool:
        """Whether it is on this machine, or has been fetched now."""
        return self.has_image(name) or self._finish([self._engine, "pull", "--quiet", name]).returncode == 0

    def image_mb(self, name: str) -> int:
        """How large an image is."""
        return int(self._run([self._engine, "image", "inspect", "--format", "{{.Size}}", name])) // 1_000_000

    def start(self, *what: str) -> None:
        """Starts what is missing of services and of `--scale`; those that are there are left alone."""
        self.compose("up", "--detach", "--no-build", "--pull", "never", "--no-recreate", *what)

    def up(self, **counts: int) -> float:
        """Seconds until so many of each service serve."""
        begin_s = time.monotonic()
        self.start(*(word for service, count in counts.items() for word in ("--scale", f"{service}={count}")))
        for service, count in counts.items():
            self._until_serving(service, count)
        return time.monotonic() - begin_s

    def crash(self, service: str) -> float:
        """Kills the process in a container of a service; seconds until the engine has it serving again."""
        container = self._any_of(service)
        before = self.state(container)["StartedAt"]
        self._finish([self._engine, "exec", container, "python", "-c", _CRASH])  # dies of it, too
        return until(
            lambda: self.state(container)["StartedAt"] != before and self._serves(container, service),
            UP_TIMEOUT_S,
            f"the {service} serves again",
        )

    def kill(self, service: str) -> None:
        """Kills a container of a service, which the engine does not start again."""
        self._run([self._engine, "kill", self._any_of(service)])

    def ids(self, service: str) -> list[str]:
        """Of the containers that run."""
        return self.compose("ps", "--quiet", service).split()

    def state(self, container: str) -> Any:
        """As the engine has it: StartedAt, ExitCode and others."""
        return json.loads(self._run([self._engine, "container", "inspect", container]))[0]["State"]

    def _until_serving(self, service: str, count: int) -> None:
        until(
            lambda: sum(self._serves(container, service) for container in self.ids(service)) == count,
            UP_TIMEOUT_S,
            f"{count} of {service} serve",
        )

    def _serves(self, container: str, service: str) -> bool:
        probe = ["exec", container, "python", "-m", "services.common.probe", f"127.0.0.1:{PORTS[service]}"]
        return self._finish([self._engine, *probe], _PROBE_TIMEOUT_S).returncode == 0

    def _any_of(self, service: str) -> str:
        if not (found := self.ids(service)):
            raise CheckFailed(f"no {service} runs")
        return found[0]

    def _remove(self) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")

    def _run(self, command: Sequence[str]) -> str:
        done = self._finish(command)
        if done.returncode:
            raise CheckFailed(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def _finish(
        self, command: Sequence[str], timeout_s: float = _COMMAND_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"{' '.join(command)}: no end within {timeout_s:g} s") from None
        except OSError as error:
            raise CheckFailed(f"{command[0]}: {error.strerror}") from None


@contextmanager
def _socket_of(podman: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Address of podman's own Docker API, which Compose speaks."""
    with tempfile.TemporaryDirectory(prefix="moshi-compose-") as folder:
        socket = Path(folder) / "podman.sock"
        # In a session of its own: Ctrl-C is for the check, which needs podman to take the containers away.
        server = subprocess.Popen(
            [podman, "system", "service", "--time=0", f"unix://{socket}"],
            env=environment,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            until(lambda: socket.exists() or server.poll() is not None, _SOCKET_TIMEOUT_S, "podman's socket is there")
            if server.poll() is not None:
                raise CheckFailed(f"`podman system service` ended with {server.returncode}")
            yield f"unix://{socket}"
        finally:
            end(server, _SOCKET_END_S)


def _compose_program() -> str:
    """Docker Compose beside podman."""
    found = shutil.which("docker-compose")
    if not found:
        raise CheckFailed("podman is there, but no docker-compose on the PATH; `make compose-check` brings one")
    return found
