"""A whole cluster as processes of this machine: what serve, the demo, whole-cluster tests and benchmarks start."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import moshi_cluster
from moshi_cluster.cluster.ports import LOOPBACK, free_ports
from moshi_cluster.cluster.process import ClusterError, ServiceProcess

_PACKAGE_PARENT = Path(moshi_cluster.__file__).parent.parent  # the checkout, or site-packages
_POLL_S = 0.1
_REPORT_PERIOD_S = 0.5
_SIGN_OF_LIFE_S = 10.0
_STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Layout:
    """What a cluster consists of."""

    checkpoint: str  # a folder or a repository
    codec_workers: int = 1
    lm_workers: int = 1
    gateways: int = 1
    slots: int | None = 8  # of every worker; None: what the services find right


class LocalCluster:
    """Processes named `codec-0`, `lm-0`, `lm-1`, ..., `gateway-0`, each logging to a file.

    A context manager: entering starts everything and waits until it serves, leaving stops everything, whatever
    happened. Variables that begin with MOSHI_ are not inherited from this process.
    """

    def __init__(
        self, layout: Layout, environment: Mapping[str, str] | None = None, log_folder: Path | None = None
    ) -> None:
        """environment: more variables, for example MOSHI_LM_CONTEXT, given to every process. A service listens on a
        free port of 127.0.0.1 unless they say otherwise.

        log_folder: kept after the end; a temporary one is used, and removed, when absent.

        Raises SettingError for a setting that a service refuses.
        """
        self._resources = ExitStack()
        temporary = tempfile.TemporaryDirectory(prefix="moshi-cluster-", ignore_cleanup_errors=True)
        self.log_folder = log_folder or Path(self._resources.enter_context(temporary))
        self.log_folder.mkdir(parents=True, exist_ok=True)
        planned = _plan(layout, dict(environment or {}), self.log_folder)
        self._processes = {process.name: process for process in planned}

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
        """Starts the named processes, all of them if none is named; a process that ended may be started again.

        Raises SettingError, with nothing started, when a port is taken.
        """
        self.check_ports(*names)
        for name in names or self.names:
            self._processes[name].start()

    def check_ports(self, *names: str) -> None:
        """Raises SettingError when a port of the named processes, or of all, is taken."""
        for name in names or self.names:
            self._processes[name].check_ports()

    def wait_until_serving(self, timeout_s: float = 60.0, report: Callable[[str], None] = lambda _line: None) -> None:
        """Returns once every started process reports SERVING. Raises ClusterError if one ends or takes too long.

        report: called with a line for people whenever a process serves, says how far it is with loading, or has been
        silent for a while.
        """
        waiting = [process for process in self._processes.values() if process.started]
        deadline_s = time.monotonic() + timeout_s
        progress = _Progress(report)
        while waiting := [process for process in waiting if not _serves(process, report)]:
            if time.monotonic() > deadline_s:
                raise ClusterError(f"{waiting[0].name} is not serving in time{waiting[0].log_tail()}")
            progress.show(waiting)
            time.sleep(_POLL_S)

    def check(self) -> None:
        """Raises ClusterError, with its last log lines, if a process that was started has ended."""
        for process in self._processes.values():
            process.check()

    def stop(self, timeout_s: float = _STOP_TIMEOUT_S) -> dict[str, int]:
        """Stops what is running, gateways first; kills what does not stop in time. Returns the exit codes."""
        running = [process for process in reversed(self._processes.values()) if process.running]
        for process in running:
            process.signal(signal.SIGTERM)
        deadline_s = time.monotonic() + timeout_s
        try:
            return {process.name: process.wait_or_kill(max(0.0, deadline_s - time.monotonic())) for process in running}
        finally:
            for process in running:  # reached with processes alive only when waiting was interrupted
                if process.running:
                    process.kill()
            self._resources.close()

    # --- one process

    @property
    def names(self) -> list[str]:
        """All processes, workers before gateways."""
        return list(self._processes)

    def process(self, name: str) -> ServiceProcess:
        """The process called `name`."""
        return self._processes[name]

    def address(self, name: str = "gateway-0") -> str:
        """host:port of its gRPC server."""
        return self._processes[name].address

    def metrics_url(self, name: str) -> str:
        """URL of its Prometheus metrics."""
        return self._processes[name].metrics_url

    def http_url(self, name: str = "gateway-0") -> str:
        """URL of a gateway's web page; /api/chat is below it."""
        return self._processes[name].http_url

    def process_id(self, name: str) -> int:
        """Its process id. Raises ClusterError when it was never started."""
        return self._processes[name].process_id

    def running(self, name: str) -> bool:
        """Whether it was started and has not ended."""
        return self._processes[name].running

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to a running process and returns at once."""
        self._processes[name].signal(number)

    def terminate(self, name: str, timeout_s: float = _STOP_TIMEOUT_S) -> int:
        """SIGTERM, wait, SIGKILL if it takes too long; returns the exit code (negative: the signal that ended it)."""
        self.signal(name, signal.SIGTERM)
        return self._processes[name].wait_or_kill(timeout_s)

    def kill(self, name: str) -> None:
        """SIGKILL: as a machine that loses power."""
        self._processes[name].kill()

    def wait(self, name: str, timeout_s: float) -> int:
        """The exit code of a process that ends by itself. Raises ClusterError when it does not."""
        return self._processes[name].wait(timeout_s)


class _Progress:
    """Passes on what services say about loading, and that they still start when they say nothing."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._told: dict[str, int] = {}  # loading lines by process
        self._looked_s = self._spoke_s = time.monotonic()

    def show(self, waiting: list[ServiceProcess]) -> None:
        now_s = time.monotonic()
        if not waiting or now_s - self._looked_s < _REPORT_PERIOD_S:
            return
        self._looked_s = now_s
        news = [line for process in waiting for line in self._news(process)]
        if not news and now_s - self._spoke_s >= _SIGN_OF_LIFE_S:
            news = [f"still starting: {', '.join(process.name for process in waiting)}"]
        for line in news:
            self._report(line)
            self._spoke_s = now_s

    def _news(self, process: ServiceProcess) -> Iterator[str]:
        lines = process.loading_lines()
        yield from (f"{process.name}: {line}" for line in lines[self._told.get(process.name, 0) :])
        self._told[process.name] = len(lines)


def _serves(process: ServiceProcess, report: Callable[[str], None]) -> bool:
    if process.serving:
        report(f"{process.name} serves at {process.address}")
        return True
    if not process.running:
        raise ClusterError(f"{process.name} ended while starting{process.log_tail()}")
    return False


def _plan(layout: Layout, environment: dict[str, str], log_folder: Path) -> list[ServiceProcess]:
    counts = {"codec": layout.codec_workers, "lm": layout.lm_workers, "gateway": layout.gateways}
    names = [(service, f"{service}-{index}") for service, count in counts.items() for index in range(count)]
    ports = iter(free_ports(3 * len(names)))
    shared = _inherited() | _model(layout) | environment
    processes: list[ServiceProcess] = []
    for service, name in names:
        own = _places(service, environment, ports)
        if service == "gateway":
            own |= {
                "MOSHI_GATEWAY_CODEC_TARGETS": _targets(processes, "codec"),
                "MOSHI_GATEWAY_LM_TARGETS": _targets(processes, "lm"),
            }
        processes.append(ServiceProcess(name, service, shared | own, log_folder / f"{name}.log"))
    return processes


def _inherited() -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MOSHI_")}
    inherited["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGE_PARENT), inherited.get("PYTHONPATH")]))
    return inherited


def _model(layout: Layout) -> dict[str, str]:
    slots = {} if layout.slots is None else {"SLOTS": str(layout.slots)}
    given = {"CHECKPOINT": layout.checkpoint} | slots
    return {f"MOSHI_{service}_{key}": value for service in ("CODEC", "LM") for key, value in given.items()}


def _places(service: str, environment: Mapping[str, str], free: Iterator[int]) -> dict[str, str]:
    """Where a service listens, as far as the environment does not say."""
    prefix = f"MOSHI_{service.upper()}_"
    ports = ("PORT", "METRICS_PORT", "HTTP_PORT") if service == "gateway" else ("PORT", "METRICS_PORT")
    wanted = [prefix + key for key in ports if environment.get(prefix + key, "0") == "0"]
    host = environment.get(f"{prefix}HOST", LOOPBACK)
    return {f"{prefix}HOST": host} | {variable: str(next(free)) for variable in wanted}


def _targets(processes: list[ServiceProcess], service: str) -> str:
    return ",".join(process.address for process in processes if process.service == service)
