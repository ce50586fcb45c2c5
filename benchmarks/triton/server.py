"""A real tritonserver on this machine, from PyPI: what `make triton` measures with."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.error
from collections.abc import Mapping
from pathlib import Path

from moshi_cluster.cluster.direct_http import open_direct
from moshi_cluster.cluster.ports import LOOPBACK, free_ports
from moshi_cluster.services.codec.triton.contract import PROGRAMS, model_name

WHEEL = "nvidia-pytriton==0.7.0"  # the last one with a server for this: 2.51, the Python backend alone
FOLDER = Path(".cache/triton")
_INSTALL_TIMEOUT_S = 300.0
_READY_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 60.0
_PROBE_TIMEOUT_S = 1.0
_POLL_S = 0.1
_STUB = "triton_python_backend_stub"


class NoTriton(Exception):
    """This machine cannot have a tritonserver; the text says why."""


class TritonFailed(Exception):
    """tritonserver did not start or stop as it should; the text ends with its last log lines."""


def install(folder: Path = FOLDER) -> Path:
    """The wheel's files, downloaded once. Its own dependencies are not needed. Raises NoTriton."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise NoTriton(f"{WHEEL} has a server for Linux on x86-64 alone")
    if not (folder / "pytriton").is_dir():
        _download(folder)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not (folder / "pytriton/tritonserver/python_backend_stubs" / version / _STUB).is_file():
        raise NoTriton(f"{WHEEL} has no backend for Python {version}")
    return folder


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), WHEEL]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise NoTriton(f"{WHEEL} could not be downloaded within {_INSTALL_TIMEOUT_S:g} s") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NoTriton(f"{WHEEL} could not be installed: {last}") from None


class TritonServer:
    """A tritonserver process with free ports; it may be started again once it has ended."""

    def __init__(self, installed: Path, models: Path, work: Path, name: str = "mimi") -> None:
        """installed: by `install`. work: where the backend is put together and the log is. name: of the models."""
        self._installed = installed.resolve()
        self._models = models
        self._log_path = work / "tritonserver.log"
        self._ports = free_ports(3)
        self._names = [model_name(name, program) for program in PROGRAMS]
        self._backends = self._put_backend_together(work)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """host:port of its gRPC port."""
        return f"{LOOPBACK}:{self._ports[0]}"

    @property
    def process_id(self) -> int:
        """Of the last one that was started."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns at once."""
        grpc_port, http_port, metrics_port = map(str, self._ports)
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._installed / "pytriton/tritonserver/bin/tritonserver"),
                    *("--backend-directory", str(self._backends), "--model-repository", str(self._models)),
                    *("--grpc-address", LOOPBACK, "--http-address", LOOPBACK, "--metrics-address", LOOPBACK),
                    *("--grpc-port", grpc_port, "--http-port", http_port, "--metrics-port", metrics_port),
                    *("--disable-auto-complete-config", "--exit-timeout-secs", "5"),
                ],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # its backend's processes are killed with it
            )

    def wait_until_ready(self) -> None:
        """Returns once both models are ready. Raises TritonFailed."""
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while not all(self._is_ready(name) for name in self._names):
            assert self._process is not None
            if self._process.poll() is not None:
                raise TritonFailed(f"tritonserver has ended{self.log_tail()}")
            if time.monotonic() > deadline_s:
                raise TritonFailed(f"tritonserver is not ready in time{self.log_tail()}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """SIGKILL to all of it: as a machine that loses power."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(_STOP_TIMEOUT_S)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that takes too long."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_TIMEOUT_S)
        self.kill()

    def log_tail(self) -> str:
        """Its last log lines, for an error message."""
        lines = self._log_path.read_text(errors="replace").splitlines() if self._log_path.exists() else []
        return ":\n  " + "\n  ".join(lines[-20:])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _is_ready(self, name: str) -> bool:
        try:
            with open_direct(f"http://{LOOPBACK}:{self._ports[1]}/v2/models/{name}/ready", _PROBE_TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def _put_backend_together(self, work: Path) -> Path:
        """The backend's own files and the stub of this Python in one folder, as Triton expects them."""
        server = self._installed / "pytriton/tritonserver"
        backend = work / "backends/python"
        shutil.copytree(server / "backends/python", backend, dirs_exist_ok=True)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        shutil.copy(server / "python_backend_stubs" / version / _STUB, backend / _STUB)
        return backend.parent

    def _environment(self) -> Mapping[str, str]:
        """The stub finds this interpreter's library and, by PATH, its packages."""
        libraries = [str(sysconfig.get_config_var("LIBDIR")), str(self._installed / "nvidia_pytriton.libs")]
        path = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        return os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(libraries), "PATH": os.pathsep.join(path)}
