"""The whole cluster as processes of this machine, for the demo, whole-cluster tests and benchmarks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import moshi_cluster

_PACKAGE_PARENT = Path(moshi_cluster.__file__).parent.parent  # the checkout, or site-packages
_HOST = "127.0.0.1"
_POLL_S = 0.05
_REPORT_PERIOD_S = 5.0
_LOG_TAIL_LINES = 15


class ClusterError(Exception):
    """A service did not start or stop as it should; the message names it and ends with its last log lines."""


@dataclass(frozen=True)
class Layout:
    """What a cluster consists of."""

    checkpoint: str  # a folder or a repository
    codec_workers: int = 1
    lm_workers: int = 1
    gateways: int = 1
    slots: int = 8  # of every worker


@dataclass
class _Process:
    name: str
    service: str
    port: int
    metrics_port: int
    http_port: int  # gateways only
    environment: dict[str, str]
    log_path: Path
    popen: subprocess.Popen[bytes] | None = None


class LocalCluster:
    """Processes named `codec-0`, `lm-0`, `lm-1`, ..., `gateway-0`, each on free ports, logging to a file.

    A context manager: entering starts everything and waits until it serves, leaving stops everything, whatever
    happened. Variables that begin with MOSHI_ are not inherited from this process.
    """

    def __init__(
        self, layout: Layout, environment: Mapping[str, str] | None = None, log_folder: Path | None = None
    ) -> None:
        """environment: more variables, for example MOSHI_LM_CONTEXT, given to every process.

        log_folder: kept after the end; a temporary one is used, and removed, when absent.
        """
        self._resources = ExitStack()
        temporary = tempfile.TemporaryDirectory(prefix="moshi-cluster-", ignore_cleanup_errors=True)
        self.log_folder = log_folder or Path(self._resources.enter_context(temporary))
        self.log_folder.mkdir(parents=True, exist_ok=True)
        self._processes = {process.name: process for process in _plan(layout, dict(environment or {}), self.log_folder)}

    # --- the whole

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_until_serving()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *names: str) -> None:
        """Starts the named processes, all of them if none is named; a process that ended may be started again."""
        for name in names or self.names:
            _launch(self._processes[name])

    def wait_until_serving(self, timeout_s: float = 60.0, report: Callable[[str], None] = lambda _line: None) -> None:
        """Returns once every running process reports SERVING. Raises ClusterError if one ends or takes too long.

        report: called with a line for people whenever a process serves, and now and then while waiting for one.
        """
        deadline_s = time.monotonic() + timeout_s
        for process in self._processes.values():
            if process.popen is not None:
                self._wait_for(process, deadline_s, report)
                report(f"{process.name} serves at {self.address(process.name)}")

    def _wait_for(self, process: _Process, deadline_s: float, report: Callable[[str], None]) -> None:
        next_report_s = time.monotonic() + _REPORT_PERIOD_S
        while not _serving(process):
            if not self.running(process.name):
                raise ClusterError(f"{process.name} ended while starting{self.log_tail(process.name)}")
            now_s = time.monotonic()
            if now_s > deadline_s:
                raise ClusterError(f"{process.name} is not serving in time{self.log_tail(process.name)}")
            if now_s > next_report_s:
                next_report_s += _REPORT_PERIOD_S
                report(f"waiting for {process.name}{self.log_tail(process.name, lines=1)}")
            time.sleep(_POLL_S)

    def stop(self, timeout_s: float = 15.0) -> dict[str, int]:
        """Stops what is running, gateways first; kills what does not stop in time. Returns the exit codes."""
        running = [name for name in reversed(self.names) if self.running(name)]
        for name in running:
            self.signal(name, signal.SIGTERM)
        deadline_s = time.monotonic() + timeout_s
        try:
            return {name: self._reap(name, max(0.0, deadline_s - time.monotonic())) for name in running}
        finally:
            for name in running:  # reached with processes alive only when waiting was interrupted
                if self.running(name):
                    self.kill(name)
            self._resources.close()

    # --- one process

    @property
    def names(self) -> list[str]:
        """All processes, workers before gateways."""
        return list(self._processes)

    def address(self, name: str = "gateway-0") -> str:
        """host:port of its gRPC server."""
        return f"{_HOST}:{self._processes[name].port}"

    def metrics_url(self, name: str) -> str:
        """Where its Prometheus metrics are."""
        return f"http://{_HOST}:{self._processes[name].metrics_port}/metrics"

    def http_url(self, name: str = "gateway-0") -> str:
        """Where a gateway's web page is; /api/chat is below it."""
        return f"http://{_HOST}:{self._processes[name].http_port}/"

    def process_id(self, name: str) -> int:
        """Its process id. Raises ClusterError when it was never started."""
        popen = self._processes[name].popen
        if popen is None:
            raise ClusterError(f"{name} was never started")
        return popen.pid

    def running(self, name: str) -> bool:
        """Whether it was started and has not ended."""
        popen = self._processes[name].popen
        return popen is not None and popen.poll() is None

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to a running process and returns at once."""
        os.kill(self.process_id(name), number)

    def terminate(self, name: str, timeout_s: float = 15.0) -> int:
        """SIGTERM, wait, SIGKILL if it takes too long; returns the exit code (negative: the signal that ended it)."""
        self.signal(name, signal.SIGTERM)
        return self._reap(name, timeout_s)

    def kill(self, name: str) -> None:
        """SIGKILL: as a machine that loses power."""
        popen = self._processes[name].popen
        if popen is not None:
            popen.kill()
            popen.wait()

    def wait(self, name: str, timeout_s: float) -> int:
        """The exit code of a process that ends by itself. Raises ClusterError when it does not."""
        popen = self._processes[name].popen
        try:
            return popen.wait(timeout_s) if popen is not None else 0
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{name} is still running after {timeout_s:g} s{self.log_tail(name)}") from error

    def log_tail(self, name: str, lines: int = _LOG_TAIL_LINES) -> str:
        """Its last log lines, for an error message: starts with a colon and a line end, or is empty."""
        path = self._processes[name].log_path
        text = path.read_text(errors="replace") if path.exists() else ""
        return ":\n  " + "\n  ".join(text.splitlines()[-lines:]) if text else ""

    def _reap(self, name: str, timeout_s: float) -> int:
        try:
            return self.wait(name, timeout_s)
        except ClusterError:
            self.kill(name)
            return -signal.SIGKILL


def _plan(layout: Layout, environment: dict[str, str], log_folder: Path) -> list[_Process]:
    counts = {"codec": layout.codec_workers, "lm": layout.lm_workers, "gateway": layout.gateways}
    names = [(service, f"{service}-{index}") for service, count in counts.items() for index in range(count)]
    ports = iter(_free_ports(3 * len(names)))
    processes = [
        _Process(name, service, next(ports), next(ports), next(ports), {}, log_folder / f"{name}.log")
        for service, name in names
    ]
    shared = {
        "MOSHI_CODEC_CHECKPOINT": layout.checkpoint,
        "MOSHI_CODEC_SLOTS": str(layout.slots),
        "MOSHI_LM_CHECKPOINT": layout.checkpoint,
        "MOSHI_LM_SLOTS": str(layout.slots),
        "MOSHI_GATEWAY_CODEC_TARGETS": _targets(processes, "codec"),
        "MOSHI_GATEWAY_LM_TARGETS": _targets(processes, "lm"),
    }
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MOSHI_")}
    inherited["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGE_PARENT), inherited.get("PYTHONPATH")]))
    for process in processes:
        prefix = f"MOSHI_{process.service.upper()}_"
        own = {"HOST": _HOST, "PORT": str(process.port), "METRICS_PORT": str(process.metrics_port)}
        if process.service == "gateway":
            own["HTTP_PORT"] = str(process.http_port)
        process.environment = inherited | shared | environment | {prefix + key: value for key, value in own.items()}
    return processes


def _targets(processes: list[_Process], service: str) -> str:
    return ",".join(f"{_HOST}:{process.port}" for process in processes if process.service == service)


def _free_ports(count: int) -> list[int]:
    """Different ones, because all are held until all are known."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((_HOST, 0))
        return [each.getsockname()[1] for each in sockets]


def _launch(process: _Process) -> None:
    with process.log_path.open("ab") as log:
        process.popen = subprocess.Popen(
            [sys.executable, "-m", f"moshi_cluster.services.{process.service}"],
            env=process.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours alone: we stop the services in order
        )


def _serving(process: _Process) -> bool:
    with grpc.insecure_channel(f"{_HOST}:{process.port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
