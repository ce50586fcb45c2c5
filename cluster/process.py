"""One service of a cluster as a process of this machine: started, asked whether it serves, signalled, reaped."""

from __future__ import annotations

import functools
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moshi_cluster.cluster.direct_http import open_direct
from moshi_cluster.cluster.ports import LOOPBACK
from moshi_cluster.services.codec import settings as codec
from moshi_cluster.services.common.listening import check_port, with_port
from moshi_cluster.services.common.probe import is_serving
from moshi_cluster.services.common.settings import load
from moshi_cluster.services.gateway import settings as gateway
from moshi_cluster.services.lm import settings as lm

_SETTINGS: Mapping[str, tuple[type[Any], str]] = {
    "codec": (codec.CodecSettings, codec.PREFIX),
    "lm": (lm.LmSettings, lm.PREFIX),
    "gateway": (gateway.GatewaySettings, gateway.PREFIX),
}
ANY_ADDRESS = ("", "0.0.0.0", "::")
"""Hosts that stand for every address of the machine."""
_PROBE_TIMEOUT_S = 1.0
_LOG_TAIL_LINES = 15
_LOG_POLL_S = 0.05
_LOGGED_WITHIN_S = 10.0
_PROGRESS = "loading "  # how models.loading.progress begins its lines


class ClusterError(Exception):
    """A service did not start, serve or stop as it should; the message names it and ends with its last log lines."""


class ServiceProcess:
    """A codec, lm or gateway process that logs to a file; it may be started again once it has ended."""

    def __init__(self, name: str, service: str, environment: Mapping[str, str], log_path: Path) -> None:
        """name: as in `lm-0`. environment: all of it. Raises SettingError for a setting that the service refuses."""
        self.name = name
        self.service = service
        settings_type, prefix = _SETTINGS[service]
        self.settings: Any = load(settings_type, prefix, argv=[], environment=environment)
        # Whatever ends this process ends what it has started: see _lifeline.
        self._environment = {**environment, f"{prefix}ATTACHED": "true"}
        self._log_path = log_path
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """host:port of its gRPC server, as seen from this machine."""
        return self._place("port")

    @property
    def metrics_url(self) -> str:
        """URL of its Prometheus metrics."""
        return f"http://{self._place('metrics_port')}/metrics"

    @property
    def http_url(self) -> str:
        """URL of a gateway's web page; /api/chat is below it."""
        scheme = "https" if self.settings.tls_dir else "http"
        return f"{scheme}://{self._place('http_port')}/"

    @property
    def process_id(self) -> int:
        """Raises ClusterError when it was never started."""
        if self._popen is None:
            raise ClusterError(f"{self.name} was never started")
        return self._popen.pid

    @property
    def started(self) -> bool:
        """Whether it was ever started."""
        return self._popen is not None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def serving(self) -> bool:
        """Whether its health says so. An encrypted gateway is asked over HTTPS, which checks no names here."""
        if self.service == "gateway" and self.settings.grpc_tls:
            return _answers(f"{self.http_url}health")
        return is_serving(self.address, _PROBE_TIMEOUT_S)

    def check_ports(self) -> None:
        """Raises SettingError, as the service itself would, when a port is taken or the host is not this machine's."""
        prefix = _SETTINGS[self.service][1]
        for field in ("port", "metrics_port", *(("http_port",) if self.service == "gateway" else ())):
            check_port(self.settings.host, getattr(self.settings, field), prefix, field)

    def start(self) -> None:
        """Returns at once."""
        with self._log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                # -P: what lies in the current folder is not imported in place of what is installed
                [sys.executable, "-P", "-m", f"moshi_cluster.services.{self.service}"],
                env=self._environment,
                stdin=_lifeline(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours alone: we stop the services in order
            )

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal and returns at once. Raises ClusterError when it was never started."""
        os.kill(self.process_id, number)

    def kill(self) -> None:
        """SIGKILL: as a machine that loses power."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def wait(self, timeout_s: float) -> int:
        """The exit code of a process that ends by itself. Raises ClusterError when it does not in time."""
        try:
            return self._popen.wait(timeout_s) if self._popen is not None else 0
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{self.name} is still running after {timeout_s:g} s{self.log_tail()}") from error

    def wait_or_kill(self, timeout_s: float) -> int:
        """The exit code; negative: the signal that ended it."""
        try:
            return self.wait(timeout_s)
        except ClusterError:
            self.kill()
            return -signal.SIGKILL

    def check(self) -> None:
        """Raises ClusterError when it has ended."""
        if self.started and not self.running:
            raise ClusterError(f"{self.name} ended with exit code {self.wait(0)}{self.log_tail()}")

    def log_tail(self, lines: int = _LOG_TAIL_LINES) -> str:
        """Its last log lines, for an error message: starts with a colon and a line end, or is empty."""
        last = self.log_lines()[-lines:]
        return ":\n  " + "\n  ".join(last) if last else ""

    def loading_lines(self) -> list[str]:
        """What it has said about files that it loads: one line every few seconds."""
        return [line for line in self.log_lines() if line.startswith(_PROGRESS)]

    def logged(self, pattern: str, within_s: float = _LOGGED_WITHIN_S) -> re.Match[str] | None:
        """The first place of its log where the pattern is found; None where it is not in time, or when it has ended.

        A service writes its log in a thread of its own: what it has done may be seen a moment before it is read there.
        """
        deadline_s = time.monotonic() + within_s
        while True:
            is_last_look = time.monotonic() > deadline_s or (self.started and not self.running)
            found = re.search(pattern, "\n".join(self.log_lines()))
            if found or is_last_look:
                return found
            time.sleep(_LOG_POLL_S)

    def _place(self, port_field: str) -> str:
        """host:port where this machine finds it."""
        host = LOOPBACK if self.settings.host in ANY_ADDRESS else self.settings.host
        return with_port(host, getattr(self.settings, port_field))

    def log_lines(self) -> list[str]:
        """All that it has logged."""
        return self._log_path.read_text(errors="replace").splitlines() if self._log_path.exists() else []


@functools.cache
def _lifeline() -> int:
    """The reading end of a pipe whose other end this process alone has: it ends with it, even where it is killed."""
    reading, _ = os.pipe()
    return reading


def _answers(url: str) -> bool:
    trusting = ssl._create_unverified_context()  # our own process, which may call itself what it likes
    try:
        with open_direct(url, _PROBE_TIMEOUT_S, trusting) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
